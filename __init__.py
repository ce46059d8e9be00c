"""Kintsugi: face restoration for ComfyUI, one wireable node per stage."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """Called by ComfyUI; the nodes are imported here so that `import kintsugi` needs no ComfyUI."""
    from .nodes import KintsugiExtension

    return KintsugiExtension()
