"""Makes `kintsugi` importable from a plain checkout of any name, installed or not."""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The repository root is the package; without this its name would be that of the folder. The
#: package stays hollow: its own __init__ is ComfyUI's entry point and holds nothing tests need.
package = types.ModuleType("kintsugi")
package.__path__ = [str(ROOT)]
package.__file__ = str(ROOT / "__init__.py")
sys.modules["kintsugi"] = package
