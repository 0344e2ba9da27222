"""Detection: finding objects in images, with boxes around them.

`Detector` does all of it; the parts are here too: boxes and their overlap, anchors, targets of a grid, the head and its
loss, suppression, average precision, and readers of the usual files.
"""

from fastcnn.data.image_files import read_image
from fastcnn.detection.anchors import anchor_kmeans, mean_best_iou, shape_iou
from fastcnn.detection.augment import Augmentation, letterbox
from fastcnn.detection.backbones import tiny_backbone
from fastcnn.detection.batches import DetectionBatches
from fastcnn.detection.boxes import (
    areas,
    ciou,
    clip_boxes,
    convert_boxes,
    diou,
    giou,
    iou,
    normalize_boxes,
    scale_boxes,
)
from fastcnn.detection.coco import read_coco, write_coco
from fastcnn.detection.data_yaml import read_data_yaml
from fastcnn.detection.dataset import BoxDataset, Sample
from fastcnn.detection.detector import Detector, MapMonitor
from fastcnn.detection.grids import Grid, assign, decode, encode
from fastcnn.detection.head import YOLOHead
from fastcnn.detection.localization import KeypointHead, KeypointLoss, LocalizationHead, LocalizationLoss
from fastcnn.detection.loss import YOLOLoss
from fastcnn.detection.metrics import Evaluation, evaluate_detections
from fastcnn.detection.rcnn import RCNN, cut_regions, propose_regions
from fastcnn.detection.results import Detections, Objects, draw_boxes
from fastcnn.detection.sliding import SlidingWindowDetector, sliding_windows
from fastcnn.detection.two_stage import FasterRCNN, RegionLoss, RoiAlign
from fastcnn.detection.voc import read_voc, write_voc
from fastcnn.detection.yolo import check_yolo, read_yolo, write_yolo
from fastcnn.ops.suppression import nms, soft_nms, weighted_box_fusion

__all__ = [
    "Augmentation",
    "BoxDataset",
    "DetectionBatches",
    "Detections",
    "Detector",
    "Evaluation",
    "FasterRCNN",
    "Grid",
    "KeypointHead",
    "KeypointLoss",
    "LocalizationHead",
    "LocalizationLoss",
    "MapMonitor",
    "Objects",
    "RCNN",
    "RegionLoss",
    "RoiAlign",
    "Sample",
    "SlidingWindowDetector",
    "YOLOHead",
    "YOLOLoss",
    "anchor_kmeans",
    "areas",
    "assign",
    "check_yolo",
    "ciou",
    "clip_boxes",
    "convert_boxes",
    "cut_regions",
    "decode",
    "diou",
    "draw_boxes",
    "encode",
    "evaluate_detections",
    "giou",
    "iou",
    "letterbox",
    "mean_best_iou",
    "nms",
    "normalize_boxes",
    "propose_regions",
    "read_coco",
    "read_data_yaml",
    "read_image",
    "read_voc",
    "read_yolo",
    "scale_boxes",
    "shape_iou",
    "sliding_windows",
    "soft_nms",
    "tiny_backbone",
    "weighted_box_fusion",
    "write_coco",
    "write_voc",
    "write_yolo",
]
