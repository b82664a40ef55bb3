"""Every setting, one row each. A new one is a row here and its use in a `runs/build_*.py`.

Plugins add rows of their own, see `config/register.py`.
"""

from itertools import chain
from typing import Any

from uniformer_video.config.segmentation_rows import SEGMENTATION
from uniformer_video.config.setting import (
    FREE,
    MATCHES_UNLESS_FROM_BEST,
    MAX_CLASSES,
    PLUGINS,
    TEST,
    TRAINING,
    Condition,
    Setting,
    all_of,
    choice,
    class_pairs,
    flag,
    needs,
    number,
    share,
    text,
)

# Limits keep out slips and what never ends well; nothing that anybody wants comes near them.
_MANY = 1_000_000_000  # a period of so many is never
_LONG = 1_000_000  # seconds: eleven days
_SMALLEST_CROP, _PIXELS = 32, 16_384
_CHANNELS = 65_536
_BLOCKS = 1_000
_LARGEST_WINDOW = 1_000
_BATCH = 1_000_000
_EPOCHS = 1_000_000
_RATE = 1_000  # of learning
_FOLDS = 1_000
_WEIGHT = 1_000_000  # of a joined data set

ROBUSTNESS_KINDS = ("drop", "jpeg", "blur", "noise", "rate", "reversed", "all")

_TWO_STAGES = "two lists of numbers from 0 to 1, for the blocks of stages 3 and 4, or []"


def _mirrors_by_class(flat: dict[str, Any]) -> bool:
    if flat["DATA.FLIP"] == "auto":
        return flat["DATA.RANDOM_FLIP"]
    return flat["DATA.FLIP"] in ("skip-directional", "swap-labels", "by-names")


def _loads_weights(flat: dict[str, Any]) -> bool:
    given = flat["UNIFORMER.PRETRAIN_NAME"] or flat["TEST.CHECKPOINT_FILE_PATH"]
    return bool(given) or not flat[TRAINING]


_RESIZED_CROP = "DATA.TRAIN_JITTER_SCALES_RELATIVE"
_WARMING = Condition(
    ("SOLVER.WARMUP_EPOCHS", "SOLVER.WARMUP_ITERS"),
    lambda flat: bool(flat["SOLVER.WARMUP_ITERS"] or flat["SOLVER.WARMUP_EPOCHS"]),
)
_ADAMW, _SGD = (needs("SOLVER.OPTIMIZING_METHOD", method) for method in ("adamw", "sgd"))
_COSINE, _STEPS, _POLY = (
    needs("SOLVER.LR_POLICY", policy) for policy in ("cosine", "steps_with_relative_lrs", "poly")
)
_FROM_RATE = needs("SOLVER.WARMUP_RATIO", 0.0)
# What is counted in iterations where it is not 0, else in epochs.
IN_ITERATIONS = {
    "SOLVER.MAX_ITER": "SOLVER.MAX_EPOCH",
    "SOLVER.WARMUP_ITERS": "SOLVER.WARMUP_EPOCHS",
    "TRAIN.EVAL_ITERS": "TRAIN.EVAL_PERIOD",
    "TRAIN.CHECKPOINT_ITERS": "TRAIN.CHECKPOINT_PERIOD",
}
_DENSE = needs("DATA.SAMPLING", "dense")
_LISTED = Condition(
    ("DATA.DECODING_BACKEND",), lambda flat: flat["DATA.DECODING_BACKEND"] in ("auto", "pyav")
)
_BY_CLASS = Condition(("DATA.FLIP", "DATA.RANDOM_FLIP"), _mirrors_by_class)
_BACKWARDS = Condition(
    ("TEST.MOTION_CHECK", "DATA.REVERSE_FRAMES"),
    lambda flat: flat["TEST.MOTION_CHECK"] or flat["DATA.REVERSE_FRAMES"],
)
_WEIGHTS = Condition(
    ("UNIFORMER.PRETRAIN_NAME", "TEST.CHECKPOINT_FILE_PATH", TRAINING), _loads_weights
)
_TAUGHT = Condition(
    ("TEACHER.CHECKPOINT", "TEACHER.SCORES"),
    lambda flat: bool(flat["TEACHER.CHECKPOINT"] or flat["TEACHER.SCORES"]),
)
_TOKENS = needs("TOKEN_LABELS.ENABLE")
_WANDB = needs("WANDB.ENABLE")
_RECOMPUTES = Condition(("MODEL.CHECKPOINT_NUM",), lambda flat: any(flat["MODEL.CHECKPOINT_NUM"]))

# A table: key, default and meaning stand in a row's first line, what restricts it in the next.
# fmt: off
_ARCHITECTURE = all_of(
    text("MODEL.MODEL_NAME", "uniformer_s", "architecture: a name that `create_model` knows"),
    number("UNIFORMER.EMBED_DIM", [], "channels of the four stages; [] = the named model's",
           1, _CHANNELS, elements=(int,), lengths=(0, 4)),
    number("UNIFORMER.DEPTH", [], "blocks of the four stages; [] = the named model's",
           1, _BLOCKS, elements=(int,), lengths=(0, 4)),
    number("UNIFORMER.HEAD_DIM", 0, "channels of an attention head; 0 = the named model's",
           0, _CHANNELS),
    number("UNIFORMER.MLP_RATIO", 0.0, "hidden channels of an FFN over its channels; 0 = the model's",
           0, 100),
    number("UNIFORMER.LOCAL_KERNEL", [], "time (of videos), height, width; [] = the weights', else [3, 5, 5]",
           1, 99, elements=(int,), lengths=(0, 2, 3)),
    flag("UNIFORMER.ADAPT_KERNEL", False, "fit weights of another temporal kernel, and report it",
         needs("UNIFORMER.LOCAL_KERNEL"), _WEIGHTS),
    flag("UNIFORMER.SPLIT", False, "attention over time, then over space, in stages 3 and 4"),
    flag("UNIFORMER.STD", False, "patch embeddings 2 to 4 look at three frames, 3x2x2"),
    flag("UNIFORMER.QKV_BIAS", True, "query, key and value of attention have a bias; False = none"),
    number("UNIFORMER.QKV_SCALE", 0.0, "factor of query times key; 0 = HEAD_DIM to the power of -0.5",
           0, 1_000),
    number("UNIFORMER.REPRESENTATION_SIZE", 0, "channels of a tanh layer before the heads; 0 = none",
           0, _CHANNELS),
    flag("UNIFORMER.LAYER_SCALE", False, "learnable factors on both branches of every block"),
    number("UNIFORMER.PRUNE_RATIO", [], "light: share of tokens kept, by block of stages 3 and 4",
           0, 1, elements=(float,), nested=True, lengths=(0, 2), form=_TWO_STAGES),
    number("UNIFORMER.TRADE_OFF", [], "light: share of a block's own row in the tokens' importance",
           0, 1, elements=(float,), nested=True, lengths=(0, 2), form=_TWO_STAGES),
    number("UNIFORMER.WINDOW", 0, "segmentation: side of the windows within which stage 3 attends, in tokens;"
           " 0 = as the weights were trained, -1 = none", -1, _LARGEST_WINDOW),
    flag("UNIFORMER.HYBRID", False, "segmentation: every fourth block of stage 3 attends to all tokens, the"
         " others within windows (of 14 by default)"),
    number("UNIFORMER.NECK_CHANNELS", 0, "segmentation: of the feature pyramid; 0 = the named model's",
           0, _CHANNELS),
    number("UNIFORMER.HEAD_CHANNELS", 0, "segmentation: inside the head; 0 = the named model's",
           0, _CHANNELS),
    affects_test=True,
)
_MODEL = (
    number("MODEL.NUM_CLASSES", 0, "classes; 0 = as many as the class names or labels say",
           0, MAX_CLASSES, on_resume=FREE),
    flag("MODEL.USE_CHECKPOINT", False, "recompute activations in the backward pass, to save memory",
         _RECOMPUTES, phase=TRAINING),
    number("MODEL.CHECKPOINT_NUM", [0, 0, 0, 0], "how many first blocks of each stage recompute",
           0, _BLOCKS, needs("MODEL.USE_CHECKPOINT"), lengths=(4,), phase=TRAINING),
    choice("MODEL.DEPTHWISE", "auto", "how UniFormers train depthwise convolutions: by the fastest way known,"
           " the one that is measured when the run begins, or torch alone",
           ("auto", "measure", "torch"), on_resume=FREE, phase=TRAINING),
    flag("MODEL.COMPILE", False, "train by torch.compile where it can be, and say what that gains",
         on_resume=FREE, phase=TRAINING),
    number("UNIFORMER.INIT_VALUE", 0.1, "what these factors start from",
           0, 1_000, needs("UNIFORMER.LAYER_SCALE"), above=True, phase=TRAINING),
    share("UNIFORMER.DROP_DEPTH_RATE", 0.1, "stochastic depth of the last block", below=True),
    flag("UNIFORMER.DROP_DEPTH_GLOBAL", True, "stochastic depth in stages 3 and 4 too; OpenMixup: False",
         needs("UNIFORMER.DROP_DEPTH_RATE"), phase=TRAINING),
    *all_of(
        share("UNIFORMER.DROPOUT_RATE", 0.0, "dropout behind the first embedding, FFNs and attention",
              below=True),
        share("UNIFORMER.ATTENTION_DROPOUT_RATE", 0.0, "dropout of the weights of attention", below=True),
        share("UNIFORMER.HEAD_DROPOUT_RATE", 0.0, "dropout before the classifier, of UniFormers", below=True),
        phase=TRAINING,
    ),
    share("MODEL.DROPOUT_RATE", 0.5, "dropout before the classifier, of pytorchvideo's models",
          below=True, phase=TRAINING),
    share("MVIT.DROPPATH_RATE", 0.0, "stochastic depth of the last block, of mvit_base_16x4",
          below=True, phase=TRAINING),
    choice("BN.NORM_TYPE", "batchnorm", "BatchNorm by each process' batch, or the joined one of all",
           ("batchnorm", "sync_batchnorm"), needs("MODEL.FROZEN_BN", False), phase=TRAINING),
    number("BN.MOMENTUM", 0.1, "share of the newest batch in BatchNorm's running statistics",
           0, 1, above=True, phase=TRAINING),
    number("BN.WEIGHT_DECAY", -1.0, "decay of BatchNorm's weights and biases; -1 = as ZERO_WD_1D_PARAM says",
           -1, 1_000, phase=TRAINING),
    flag("BN.USE_PRECISE_STATS", False, "measure BatchNorm's statistics before validations and checkpoints",
         needs("MODEL.FROZEN_BN", False), phase=TRAINING),
    number("BN.NUM_BATCHES_PRECISE", 200, "on the clips of so many steps; an epoch has no more",
           1, _MANY, needs("BN.USE_PRECISE_STATS"), phase=TRAINING),
    *all_of(
        Setting("MODEL.FREEZE", [], "parts that are not trained; they compute as in a test", elements=(str,),
                form="a list of parts, such as [stem, stage1], [all-but-head] (a linear probe), or []"),
        flag("MODEL.DETACH_FINAL_FC", False, "only the classifier learns; all else computes as in training"),
        flag("MODEL.FROZEN_BN", False, "BatchNorm keeps the statistics that it starts from"),
        flag("MODEL.FROZEN_BN_AFFINE", False, "its weights and biases are not trained either",
             needs("MODEL.FROZEN_BN")),
        on_resume=MATCHES_UNLESS_FROM_BEST,
        phase=TRAINING,
    ),
    text("UNIFORMER.PRETRAIN_NAME", "", "weights to start from: a path, a URL, a published name"),
    choice("UNIFORMER.INFLATE_MODE", "average", "2D weights to 3D: spread over time, or in the middle",
           ("average", "center"), needs("UNIFORMER.PRETRAIN_NAME"), phase=TRAINING),
)
_VIDEOS = all_of(
    *all_of(
        text("DATA.PATH_TO_DATA_DIR", "", "folder of lists, of videos, of shards (an address); or [A, B]",
             or_list=True, form="a folder, or a list of them, [A, B], to be joined by class names"),
        text("DATA.PATH_PREFIX", "", "put before the paths of a list; empty = the list's own folder"),
        text("DATA.PATH_LABEL_SEPARATOR", "auto", "between path and label: auto = last comma or blank"),
        on_resume=FREE,
    ),
    text("DATA.LABEL_PATH_TEMPLATE", "", "frames: name of a list, {} for its split; empty = {}.txt"),
    text("DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "frames: name of a frame by its number, from 1"),
    choice("DATA.SPLIT_NUMBER", 1, "ucf101, hmdb51: which of the official splits", (1, 2, 3)),
    text("DATA.CLASS_NAMES", "", "file with one class name a line; empty = classes.txt if there"),
    share("DATA.VAL_RATIO", 0.2, "share of a folder, or beside a fold, that is held out, by RNG_SEED"),
    text("DATA.GROUP_PATTERN", "", "regular expression: what its (...) finds in a path is the video's group"),
    number("DATA.FOLDS", 0, "cross-validation: parts to cut all labelled videos into; 0 = lists as they are",
           0, _FOLDS),
    number("DATA.FOLD", 0, "which of the DATA.FOLDS parts is tested, from 0; the others are trained on",
           0, _FOLDS),
    text("DATA.DECODING_BACKEND", "auto", "a registered decoder; auto = pyav, which is exact on every file"),
    number("DATA.DECODE_SHORT_SIDE", 0, "larger videos are scaled down to it in decoding; 0 = exact",
           0, _PIXELS),
    affects_test=True,
)
_BALANCE = (
    share("DATA.BALANCE", 0.0, "0 = classes as frequent as they are ... 1 = all equally frequent",
          phase=TRAINING),
    number("DATA.JOIN_WEIGHTS", [], "how often videos of each joined folder come in training; [] = alike",
           0, _WEIGHT, elements=(float,), phase=TRAINING),
    share("DATA.MAX_BAD_RATIO", 0.1, "training stops when more of the videos are broken",
          on_resume=FREE),
    text("DATA.LICENSE", "", "of the videos, in words: the page of a test says it under frames that it shows",
         on_resume=FREE),
    number("DATA.CACHE_GB", 0.0, "training videos are decoded once, kept on disk up to so many GB; 0 = off",
           0, _PIXELS, on_resume=FREE, phase=TRAINING),
    text("DATA.CACHE_DIR", "", "folder of these frames; empty = OUTPUT_DIR/frames until training is finished",
         needs("DATA.CACHE_GB"), on_resume=FREE, phase=TRAINING),
    text("DATA.FRAME_INDEX", "auto", "lists a video's packets once: auto = beside the data, else the cache",
         _LISTED, form="auto, off, or the folder to keep it in", on_resume=FREE),
    text("DATA.PUBLISHED_LISTS", "", "folder of the official annotations: names what the lists lack of them",
         on_resume=FREE),
)
_CLIPS = all_of(
    number("DATA.NUM_FRAMES", 16, "frames of a clip", 1, 10_000),
    number("DATA.SAMPLING_RATE", 4, "temporal stride of a clip, in frames of the video",
           1, 100_000, _DENSE),
    number("DATA.TARGET_FPS", 0.0, "clips count frames of the video at this rate; 0 = its own frames",
           0, 10_000),
    choice("DATA.SAMPLING", "dense", "dense = a window of the video, segment = over all of it",
           ("dense", "segment")),
    flag("DATA.USE_OFFSET_SAMPLING", True, "spread test clips from the first frame to the last",
         _DENSE, on_resume=FREE),
    flag("DATA.REVERSE_FRAMES", False, "play the test videos backwards", on_resume=FREE),
    number("DATA.MEAN", [0.45, 0.45, 0.45], "subtracted from values in [0, 1], per channel",
           0, 1, lengths=(3,)),
    number("DATA.STD", [0.225, 0.225, 0.225], "divides after that, per channel",
           1e-4, 1, lengths=(3,)),
    choice("DATA.CHANNEL_ORDER", "RGB", "the order that the model sees", ("RGB", "BGR")),
    affects_test=True,
)
_TRAINING_CROP = all_of(
    number("DATA.TRAIN_JITTER_SCALES", [256, 320], "short side before a plain random crop, min and max",
           1, _PIXELS, needs(_RESIZED_CROP, []), lengths=(2,)),
    number(_RESIZED_CROP, [0.08, 1.0], "share of the area that a resized crop takes; [] = plain crop",
           0, 1, above=True, lengths=(0, 2)),
    number("DATA.TRAIN_JITTER_ASPECT_RELATIVE", [0.75, 1.3333], "width / height of the resized crop",
           0.01, 100, needs(_RESIZED_CROP), lengths=(2,)),
    number("DATA.TRAIN_CROP_SIZE", 224, "side of a training clip, in pixels", _SMALLEST_CROP, _PIXELS),
    phase=TRAINING,
)
_VIEWS = all_of(
    number("DATA.TEST_CROP_SIZE", 224, "side of a test view, in pixels",
           _SMALLEST_CROP, _PIXELS, on_resume=FREE),
    number("DATA.TEST_SCALE", 0, "short side before the test crop; 0 = the crop's side, of images see RATIO",
           0, _PIXELS, on_resume=FREE),
    number("DATA.TEST_CROP_RATIO", 0.875, "images: side of the test crop over the short side it is cut from",
           0.1, 1, needs("DATA.TEST_SCALE", 0), on_resume=FREE),
    class_pairs("DATA.OPPOSITE_CLASS_PAIRS", "what a video played backwards exchanges",
                _BACKWARDS, on_resume=FREE, phase=TEST),
    affects_test=True,
)
_FLIPS = (
    flag("DATA.RANDOM_FLIP", True, "mirror half of the training clips left to right",
         needs("DATA.FLIP", "auto", gives_way=True), phase=TRAINING),
    choice("DATA.FLIP", "auto", "which clips are mirrored, and their labels; auto = see RANDOM_FLIP",
           ("auto", "off", "all", "skip-directional", "swap-labels", "by-names"), phase=TRAINING),
    class_pairs("DATA.FLIP_CLASS_PAIRS", "what a mirrored clip exchanges; [] = by the classes' names",
                _BY_CLASS, phase=TRAINING),
)
_AUGMENTATION = all_of(
    flag("AUG.ENABLE", True, "RandAugment, erasing and copies of clips in training"),
    *all_of(
        number("AUG.NUM_SAMPLE", 1, "copies of each training clip, augmented independently", 1, 100),
        number("AUG.REPEATED", 1, "times each video comes in a row, dealt out to processes; published: 3",
               1, 100),
        text("AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1", "RandAugment's policy; v0 = AutoAugment's; '' = none"),
        number("AUG.COLOR_JITTER", 0.4, "brightness, contrast, saturation, where AA_TYPE is empty",
               0, 10, needs("AUG.AA_TYPE", "")),
        choice("AUG.INTERPOLATION", "bicubic", "of the policy's geometry",
               ("bicubic", "bilinear"), needs("AUG.AA_TYPE")),
        share("AUG.RE_PROB", 0.25, "probability of random erasing"),
        used_when=needs("AUG.ENABLE"),
    ),
    choice("AUG.ON_DEVICE", "off", "what the training device does: nothing, normalise (and erase), all",
           ("off", "normalise", "all")),
    flag("MIXUP.ENABLE", True, "mixup and cutmix"),
    *all_of(
        number("MIXUP.ALPHA", 0.8, "Beta parameter of mixup; 0 = cutmix only",
               0, 1_000, needs("MIXUP.PROB")),
        number("MIXUP.CUTMIX_ALPHA", 1.0, "Beta parameter of cutmix; 0 = mixup only",
               0, 1_000, needs("MIXUP.PROB")),
        share("MIXUP.PROB", 1.0, "probability that a batch is mixed"),
        share("MIXUP.SWITCH_PROB", 0.5, "probability of cutmix where both are on",
              needs("MIXUP.PROB"), needs("MIXUP.ALPHA"), needs("MIXUP.CUTMIX_ALPHA")),
        used_when=needs("MIXUP.ENABLE"),
    ),
    share("MIXUP.LABEL_SMOOTH_VALUE", 0.1, "label smoothing, with and without mixup"),
    phase=TRAINING,
)
_TRAIN = (
    flag(TRAINING, True, "train; False = only test", on_resume=FREE),
    text("TRAIN.DATASET", "kinetics", "a format of lists by its name; kinetics = csv, folder = by class"),
    text("TRAIN.TASK", "single-label",
         "what is learnt: single-label, multi-label, segmentation, or a task of one's own",
         affects_test=True),
    number("TRAIN.BATCH_SIZE", 32, "videos of a step on one machine, over its NUM_GPUS", 1, _BATCH),
    number("TRAIN.EVAL_PERIOD", 1, "epochs between validations; 0 = never", 0, _MANY,
           needs("TRAIN.EVAL_ITERS", 0)),
    number("TRAIN.EVAL_ITERS", 0, "iterations between validations; 0 = by TRAIN.EVAL_PERIOD", 0, _MANY,
           phase=TRAINING),
    number("TRAIN.MINUTES", 0.0,
           "for training and validations, which set SOLVER.MAX_EPOCH or MAX_ITER; 0 = no limit",
           0, _MANY, on_resume=MATCHES_UNLESS_FROM_BEST, phase=TRAINING),
    number("TRAIN.PATIENCE", 0, "training ends after so many validations without a better score; 0 = never",
           0, _MANY, on_resume=FREE, phase=TRAINING),
    number("TRAIN.CHECKPOINT_PERIOD", 1, "epochs between checkpoints", 1, _MANY,
           needs("TRAIN.CHECKPOINT_ITERS", 0), on_resume=FREE),
    number("TRAIN.CHECKPOINT_ITERS", 0, "iterations between checkpoints; 0 = by TRAIN.CHECKPOINT_PERIOD",
           0, _MANY, on_resume=FREE, phase=TRAINING),
    number("TRAIN.CHECKPOINT_MINUTES", 10.0, "and minutes between checkpoints inside an epoch",
           0, _MANY, on_resume=FREE),
    Setting("TRAIN.CHECKPOINT_KEEP", "0", "how many epoch_0010.pt or iter_000400.pt to keep, weights alone",
            form="a whole number from 0, or all", on_resume=FREE, counts=True),
    choice("TRAIN.PRECISION", "auto", "auto = bf16 on CUDA, fp32 on CPU",
           ("auto", "fp32", "bf16", "fp16"), on_resume=MATCHES_UNLESS_FROM_BEST, affects_test=True),
    number("TRAIN.MAX_NONFINITE", 10, "training stops after so many non-finite losses in a row",
           1, _MANY, on_resume=FREE),
    number("TRAIN.PROFILE", [], "[k, n]: write a trace of the steps k to k + n, counted as in the log",
           0, _MANY, elements=(int,), lengths=(0, 2), on_resume=FREE, phase=TRAINING),
)
_TEACHER = all_of(
    text("TEACHER.CHECKPOINT", "", "a trained model to learn from as well: a path, a URL, a published name"),
    text("TEACHER.SCORES", "", "or a test of one over the training list (TEST.SPLIT train): its folder"),
    number("TEACHER.WEIGHT", 0.5, "share of the teacher in the loss, beside the labels' 1 - WEIGHT",
           0, 1, _TAUGHT, above=True),
    number("TEACHER.TEMPERATURE", 2.0, "divides the logits of both, so that small answers count too",
           0, 1_000, _TAUGHT, above=True),
    phase=TRAINING,
)
_TOKEN_LABELS = all_of(
    flag("TOKEN_LABELS.ENABLE", False, "images: learn soft labels of every token too, from label maps"),
    *all_of(
        text("TOKEN_LABELS.PATH", "", "folder of the maps: <class folder>/<name of the picture>.pt",
             on_resume=FREE),
        number("TOKEN_LABELS.CLASS_WEIGHT", 1.0, "of the loss of the class logits, against the map's label",
               0, 1_000),
        number("TOKEN_LABELS.DENSE_WEIGHT", 1.0, "of the loss of the token logits", 0, 1_000),
        choice("TOKEN_LABELS.BOX_ORDER", "published",
               "how a crop is cut from its map: published = with its axes exchanged",
               ("published", "corrected")),
        flag("TOKEN_LABELS.GROUND_TRUTH", False, "move the map's label of a picture to its true class"),
        flag("TOKEN_LABELS.MIXTOKEN", True, "replace a box of tokens by those of another picture"),
        used_when=_TOKENS,
    ),
    phase=TRAINING,
)
_TESTS = all_of(
    flag(TEST, True, "run the multi-view test and write the report", affects_test=True),
    text("TEST.DATASET", "", "format of the test data; empty = as TRAIN.DATASET", affects_test=True),
    choice("TEST.SPLIT", "test", "which list is tested; train = the training list, for TEACHER.SCORES",
           ("test", "val", "train"), affects_test=True),
    number("TEST.BATCH_SIZE", 16, "views of a forward pass", 1, _BATCH),
    number("TEST.NUM_ENSEMBLE_VIEWS", 4, "clips of a video", 1, 1_000, affects_test=True),
    choice("TEST.NUM_SPATIAL_CROPS", 1, "crops of a clip: the centre, or along the longer side",
           (1, 3), affects_test=True),
    text("TEST.SCORE", "logits", "what is summed over views: logits (as published), or as the task allows",
         affects_test=True),
    choice("TEST.PRECISION", "auto", "arithmetic of the test, and of predictions; auto = as TRAIN.PRECISION",
           ("auto", "fp32", "bf16", "fp16"), affects_test=True),
    text("TEST.CHECKPOINT_FILE_PATH", "", "weights to test; empty = those of OUTPUT_DIR",
         affects_test=True),
    choice("TEST.WEIGHTS", "best", "which of OUTPUT_DIR's weights to test",
           ("best", "last", "best-raw", "best-ema", "last-ema"),
           needs("TEST.CHECKPOINT_FILE_PATH", "", gives_way=True), affects_test=True),
    text("TEST.AMONG_CLASSES", "", "compare the scores of some classes alone: present (those of the test's "
         "videos), or their names or a file of them; empty = all", affects_test=True),
    flag("TEST.MOTION_CHECK", False,
         "also test backwards and on the still middle frame: 3 times the forward passes"),
    Setting("TEST.ROBUSTNESS", [], "also test with frames dropped, compressed, ...: 5 more tests a kind",
            elements=(str,), choices=ROBUSTNESS_KINDS,
            form="a list of kinds, such as [drop, jpeg, blur, noise, rate, reversed], [all], or []"),
    flag("TEST.STRIPS", True, "keep small frames of every tested video, or small pictures, for the report"),
    on_resume=FREE,
    phase=TEST,
)
_SOLVER = all_of(
    number("SOLVER.BASE_LR", 1e-4, "peak learning rate", 0, _RATE),
    flag("SOLVER.BASE_LR_SCALE_NUM_SHARDS", False, "multiply the learning rates by NUM_SHARDS"),
    number("SOLVER.BASE_LR_BATCH_SIZE", 0,
           "the learning rates are for so many videos a step, and scaled to the run's; 0 = as given",
           0, _BATCH),
    number("SOLVER.LAYER_DECAY", 1.0, "learning rate of a layer over that of the next one, up to the head",
           0, 1, above=True),
    number("SOLVER.ACCUMULATION_STEPS", 1, "batches whose gradients are added up before an update",
           1, 100_000),
    number("SOLVER.WARMUP_EPOCHS", 10.0, "linear warm-up", 0, _EPOCHS, needs("SOLVER.WARMUP_ITERS", 0)),
    number("SOLVER.WARMUP_ITERS", 0, "linear warm-up, in iterations; 0 = by SOLVER.WARMUP_EPOCHS", 0, _MANY),
    number("SOLVER.WARMUP_START_LR", 1e-6, "learning rate at the start of the warm-up",
           0, _RATE, _WARMING, _FROM_RATE),
    share("SOLVER.WARMUP_RATIO", 0.0,
          "the warm-up multiplies each step's rate, by this at its start; 0 = it rises from WARMUP_START_LR",
          _WARMING, below=True),
    choice("SOLVER.LR_POLICY", "cosine",
           "how the learning rate goes on: half a cosine, in steps, or (1 - share of the way) ^ POWER",
           ("cosine", "steps_with_relative_lrs", "poly")),
    number("SOLVER.POWER", 1.0, "of LR_POLICY poly, which ends at 0; 1 = a straight line", 0, 1_000, _POLY,
           above=True),
    number("SOLVER.COSINE_END_LR", 1e-6, "learning rate at the end of the cosine",
           0, _RATE, _COSINE),
    flag("SOLVER.COSINE_AFTER_WARMUP", True, "the cosine begins where the warm-up ends; False = at epoch 0",
         _WARMING, _COSINE),
    flag("SOLVER.WARMUP_TO_BASE_LR", False, "the warm-up rises to BASE_LR; False = to where the cosine is",
         _WARMING, _FROM_RATE, needs("SOLVER.COSINE_AFTER_WARMUP", False), _COSINE),
    number("SOLVER.COOLDOWN_EPOCHS", 0.0, "epochs at COSINE_END_LR, the last of the training",
           0, _EPOCHS, _COSINE),
    choice("SOLVER.LR_INTERVAL", "step",
           "when the learning rate changes: each step, or each epoch, to its own or to the one before's",
           ("step", "epoch", "previous-epoch")),
    number("SOLVER.STEPS", [], "epochs from which the next of SOLVER.LRS counts, the first of them 0",
           0, _EPOCHS, _STEPS, elements=(float,)),
    number("SOLVER.LRS", [], "learning rates of these steps, as factors of SOLVER.BASE_LR",
           0, _RATE, _STEPS, elements=(float,)),
    number("SOLVER.MAX_EPOCH", 110, "length of the training, warm-up and COOLDOWN_EPOCHS included",
           1, _EPOCHS, needs("SOLVER.MAX_ITER", 0)),
    number("SOLVER.MAX_ITER", 0, "length in iterations (steps), which the run then counts; 0 = by MAX_EPOCH",
           0, _MANY),
    choice("SOLVER.OPTIMIZING_METHOD", "adamw", "the optimiser", ("adamw", "sgd")),
    number("SOLVER.BETAS", [0.9, 0.999], "AdamW's, of the mean gradient and of its square",
           0, 1, _ADAMW, lengths=(2,), below=True),
    share("SOLVER.MOMENTUM", 0.9, "SGD's: how much of the last update is kept", _SGD, below=True),
    share("SOLVER.DAMPENING", 0.0, "SGD's: how much less of a gradient counts", _SGD, below=True),
    flag("SOLVER.NESTEROV", True, "SGD's momentum looks a step ahead", _SGD),
    number("SOLVER.WEIGHT_DECAY", 0.05, "decay of convolution and linear weights", 0, 1_000),
    flag("SOLVER.ZERO_WD_1D_PARAM", True, "no decay on biases and norms; False = every parameter decays",
         needs("SOLVER.WEIGHT_DECAY")),
    Setting("SOLVER.NO_DECAY_PATTERNS", [], "no decay on parameters whose name contains one of these",
            elements=(str,), form="a list of parts of names, such as [norm]"),
    flag("SOLVER.ZERO_WD_POS_EMBED", False, "no decay on position kernels too; published runs decay",
         needs("SOLVER.WEIGHT_DECAY")),
    flag("SOLVER.ZERO_WD_CLASS_TOKEN", False, "no decay on the class token; published image runs have none",
         needs("SOLVER.WEIGHT_DECAY")),
    share("SOLVER.CLASS_BALANCE", 0.0, "weight of a class in the loss: its frequency to minus this"),
    number("SOLVER.CLASS_WEIGHTS", [], "these weights instead, one a class in the order of their names",
           0, 1e9, above=True, elements=(float,)),
    number("SOLVER.CLIP_GRADIENT", 20.0, "largest gradient norm; 0 = no clipping", 0, 1e12),
    on_resume=MATCHES_UNLESS_FROM_BEST,
    phase=TRAINING,
)
_AVERAGES = all_of(
    flag("EMA.ENABLE", False, "keep a moving average of the weights, and validate it beside them"),
    share("EMA.DECAY", 0.9999, "how much of the average a step keeps", needs("EMA.ENABLE"), below=True),
    flag("EMA.WARMUP", True, "at most (1 + n) / (10 + n) of it after n updates; published runs: off",
         needs("EMA.ENABLE")),
    on_resume=MATCHES_UNLESS_FROM_BEST,
    phase=TRAINING,
)
_MACHINE = (
    number("DATA_LOADER.NUM_WORKERS", -1, "decoding processes; -1 = one a core, at most 16",
           -1, 1_024, on_resume=FREE),
    number("DATA_LOADER.TIMEOUT", 300.0,
           "seconds to wait for a video before it counts as broken; 0 = for ever, as without workers",
           0, _LONG, on_resume=FREE),
    number("DISTRIBUTED.TIMEOUT", 120.0,
           "seconds without a heartbeat after which one of many processes is given up",
           1, _LONG, on_resume=FREE),
    flag("TENSORBOARD.ENABLE", True, "write TensorBoard curves where it is installed", on_resume=FREE),
    flag("WANDB.ENABLE", False, "write curves, settings and results to Weights & Biases", on_resume=FREE),
    text("WANDB.PROJECT", "uniformer-video", "the project at Weights & Biases", _WANDB, on_resume=FREE),
    choice("WANDB.MODE", "auto", "offline = for `wandb sync`; auto = as WANDB_MODE says, else online",
           ("auto", "online", "offline"), _WANDB, on_resume=FREE),
    number("NUM_GPUS", 1, "processes a machine the recipe was made for", 1, 1_024),
    number("NUM_SHARDS", 1, "machines the recipe was made for", 1, 100_000),
    number("RNG_SEED", 0, "every random draw follows from it", 0, 2**63 - 1),
    number("LOG_PERIOD", 10, "steps between log lines", 1, _MANY, on_resume=FREE),
    Setting(PLUGINS, [], "modules to import first: names, or paths of .py files from this file's folder",
            elements=(str,), form="a list of module names or paths of .py files", on_resume=FREE),
    text("OUTPUT_DIR", "", "where everything is written; empty = runs/<config name>", on_resume=FREE),
)
# fmt: on

_DATA = (*_VIDEOS, *_BALANCE, *_CLIPS, *_TRAINING_CROP, *_VIEWS, *_FLIPS)
_TRAINING = (_TRAIN, _TEACHER, _TOKEN_LABELS, _SOLVER, _AVERAGES)
_PARTS = (_ARCHITECTURE, _MODEL, _DATA, _AUGMENTATION, *_TRAINING, SEGMENTATION, _TESTS, _MACHINE)
SETTINGS: dict[str, Setting] = {row.key: row for row in chain(*_PARTS)}
DEFAULTS: dict[str, Any] = {key: row.default for key, row in SETTINGS.items()}
# Settings of earlier versions that recorded runs may hold, and why they are gone.
REMOVED: dict[str, str] = {}
