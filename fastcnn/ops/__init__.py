"""The op vocabulary: functions of tensors (or arrays) with shape rules, gradients and kernels."""
