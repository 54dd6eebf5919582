"""Whether a name on the Hugging Face hub can be loaded at all, asked before libraries ask again and again."""

from __future__ import annotations

from pathlib import Path

from mmr5.errors import ModelNotFoundError

CONNECT_SECONDS = 2.0


def check_hub(name: str) -> None:
    """Refuse a name of the hub that is not in the hub's cache while the hub cannot be reached.

    Nothing is asked where the checkpoint is cached or a folder, the hub is off (``HF_HUB_OFFLINE``), or its library is not
    installed.

    Raises:
        ModelNotFoundError: it cannot be had.
    """
    import httpx

    if Path(name).is_dir():
        return
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:  # the engine says which extra is missing
        return
    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        httpx.head(f"{constants.ENDPOINT}/{name}/resolve/main/config.json", timeout=httpx.Timeout(10.0, connect=CONNECT_SECONDS))
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ModelNotFoundError(
            f"{name!r} is not in the hub's cache, and {constants.ENDPOINT} cannot be reached ({error}): check the network and "
            "the name, or give 'mini' or a folder with a checkpoint"
        ) from error
    except httpx.HTTPError:  # it was reached: what it says is for the library to hear
        return
