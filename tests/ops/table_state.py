"""Ops with state have no rows but tests of their own: test_random.py and test_update.py."""

from op_harness import Row

from fastcnn.ops import random, update

ROWS: list[Row] = []
COVERED_ELSEWHERE: set[type] = {
    random.Advance,
    random.Dropout,
    random.RandomBernoulli,
    random.RandomFill,
    random.RandomNormal,
    random.RandomUniform,
    update.Adadelta,
    update.Adagrad,
    update.Adam,
    update.AdamAmsgrad,
    update.Adamax,
    update.Assign,
    update.AssignAdd,
    update.AverageWeights,
    update.ClipFactor,
    update.DecayWeights,
    update.Lion,
    update.Nadam,
    update.OptimizerStep,
    update.RmsProp,
    update.RmsPropCentered,
    update.RmsPropMomentum,
    update.ScaleBy,
    update.Sgd,
    update.SgdMomentum,
    update.SgdNesterov,
}
