from aletheia.analysis.model_settings import ModelSettings


def test_vectors_in_int8_never_bear_the_models_own_name():
    assert ModelSettings(local_model_precision="float32").name_vectors("a/b") == "a/b"
    assert ModelSettings(local_model_precision="int8").name_vectors("a/b") == "a/b:int8"


def test_models_of_up_to_five_gigabytes_are_downloaded_by_default():
    assert ModelSettings().max_model_size == 5_000_000_000
