"""The keys that PySlowFast and the published UniFormer know and this project does not."""

# Whole sections, with all that is nested in them.
SECTIONS = (
    "AVA",
    "BENCHMARK",
    "CONTRASTIVE",
    "DEMO",
    "DETECTION",
    "MASK",
    "MULTIGRID",
    "MVIT",
    "NONLOCAL",
    "PREFETCH",
    "RESNET",
    "SLOWFAST",
    "TENSORBOARD",
    "VIS_MASK",
    "VTN",
    "X3D",
)
# Keys by section, "" at the top; a trailing underscore covers all that begin so.
KEYS = {
    "": "DIST_BACKEND LOG_MODEL_INFO PREFETCH SHARD_ID TASK",
    "AUG": "GEN_MASK_LOADER MASK_ MAX_MASK_ RE_COUNT RE_MODE RE_SPLIT",
    "BN": "EPSILON GLOBAL_SYNC NUM_SPLITS NUM_SYNC_DEVICES",
    "DATA": "COLOR_RND_GRAYSCALE CROP_SIZE DECODING_SHORT_SIZE DUMMY_LOAD ENSEMBLE_METHOD "
    "IN22K_TRAINVAL IN22k_VAL_IN1K IN_VAL_CROP_RATIO INPUT_CHANNEL_NUM INV_UNIFORM_SAMPLE "
    "LOADER_CHUNK_ MC MULTI_LABEL PATH_TO_PRELOAD_IMDB REVERSE_INPUT_CHANNEL SKIP_ROWS SSL_ "
    "TIME_DIFF_PROB TRAIN_CROP_NUM_ TRAIN_JITTER_FPS TRAIN_JITTER_MOTION_SHIFT TRAIN_PCA_EIGVAL "
    "TRAIN_PCA_EIGVEC",
    "DATA_LOADER": "ENABLE_MULTI_THREAD_DECODE PIN_MEMORY",
    "MODEL": "ACT_CHECKPOINT ARCH DROPCONNECT_RATE FC_INIT_STD FP16_ALLREDUCE HEAD_ACT LOSS_FUNC "
    "MULTI_PATHWAY_ARCH SINGLE_PATHWAY_ARCH",
    "SOLVER": "CLIP_GRAD_L2NORM CLIP_GRAD_VAL GAMMA LARS_ON STEP_SIZE WARMUP_FACTOR",
    "TEST": "CHECKPOINT_TYPE NUM_TEMPORAL_CLIPS SAVE_RESULTS_PATH TEST_BEST",
    "TRAIN": "AUTO_RESUME CHECKPOINT_CLEAR_NAME_PATTERN CHECKPOINT_EPOCH_RESET "
    "CHECKPOINT_FILE_PATH CHECKPOINT_IN_INIT CHECKPOINT_INFLATE CHECKPOINT_TYPE "
    "EVAL_FULL_VIDEO KILL_LOSS_EXPLOSION_FACTOR MIXED_PRECISION SAVE_LATEST",
    "UNIFORMER": "STAGE_TYPE",
}


def is_foreign(key: str) -> bool:
    """Whether `key` is in one of their sections, or one of their keys in a section of ours."""
    section, dot, name = key.partition(".")
    if dot and section in SECTIONS:
        return True
    section, name = (section, name) if dot else ("", key)
    return any(
        name == known or (known[-1] == "_" and name.startswith(known))
        for known in KEYS.get(section, "").split()
    )
