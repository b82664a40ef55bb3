"""The settings of a run of seconds on a CPU."""

# A model and a protocol small enough for seconds on a CPU.
TINY = {
    "UNIFORMER.EMBED_DIM": "[8,16,16,32]",
    "UNIFORMER.DEPTH": "[1,1,1,1]",
    "UNIFORMER.HEAD_DIM": "8",
    "DATA.NUM_FRAMES": "4",
    "DATA.SAMPLING_RATE": "2",
    "DATA.TRAIN_CROP_SIZE": "32",
    "DATA.TEST_CROP_SIZE": "32",
    "TRAIN.BATCH_SIZE": "4",
    "SOLVER.MAX_EPOCH": "2",
    "SOLVER.WARMUP_EPOCHS": "1",
    "SOLVER.BASE_LR": "1e-3",
    "TEST.NUM_ENSEMBLE_VIEWS": "2",
    "DATA_LOADER.NUM_WORKERS": "0",
    "TENSORBOARD.ENABLE": "False",
    "LOG_PERIOD": "1",
}
