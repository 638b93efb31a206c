"""The model as a plain diffusers-style folder: a JSON config and a half-precision safetensors file per network."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from interactive3d.runtime.guidance.embedded.schedule import STEPS
from interactive3d.runtime.guidance.embedded.text import TextConfig, TextEncoder, WordTokenizer
from interactive3d.runtime.guidance.embedded.unet import UNet, UNetConfig
from interactive3d.runtime.guidance.embedded.volume import VolumeConfig, VolumeNetwork

DEFAULT_FOLDER = Path(__file__).parent / "weights"
FORMAT = 1


@dataclass
class Networks:
    """The three networks and the tokenizer."""

    tokenizer: WordTokenizer
    text: TextEncoder
    volume: VolumeNetwork
    unet: UNet

    def modules(self) -> dict[str, TextEncoder | VolumeNetwork | UNet]:
        return {"text_encoder": self.text, "volume": self.volume, "unet": self.unet}

    def to(self, device: torch.device | str) -> "Networks":
        for module in self.modules().values():
            module.to(device)
        return self

    def eval(self) -> "Networks":
        for module in self.modules().values():
            module.eval().requires_grad_(False)
        return self


def build_networks(tokenizer: WordTokenizer, text: TextConfig, volume: VolumeConfig, unet: UNetConfig) -> Networks:
    return Networks(tokenizer, TextEncoder(text), VolumeNetwork(volume), UNet(unet))


def save_networks(networks: Networks, folder: Path, info: dict | None = None) -> None:
    """Write the folder; `info` (steps, time, figures) goes into `model_index.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = {name: type(module).__name__ for name, module in networks.modules().items()}
    index = {"_class_name": "EmbeddedPrior", "format": FORMAT, "components": classes, "info": info or {}}
    (folder / "tokenizer").mkdir(exist_ok=True)
    networks.tokenizer.save(folder / "tokenizer" / "tokenizer.json")
    for name, module in networks.modules().items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(asdict(module.config), indent=1) + "\n")
        half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in module.state_dict().items()}
        save_file(half, folder / name / "diffusion_pytorch_model.safetensors")
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"kind": "cosine", "num_train_timesteps": STEPS, "prediction_type": "v_prediction"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=1) + "\n")
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def load_networks(folder: Path = DEFAULT_FOLDER, device: torch.device | str = "cpu") -> Networks:
    """Read the folder; weights become float32.

    Raises FileNotFoundError where there are no weights, ValueError for a format this version does not know.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no embedded prior in {folder}: expected model_index.json; train one with `interactive3d train-prior`"
        )
    index = json.loads(path.read_text())
    if index.get("format") != FORMAT:
        raise ValueError(f"format of {path}: expected {FORMAT}, got {index.get('format')}; train again or update")
    configs = {name: json.loads((folder / name / "config.json").read_text()) for name in index["components"]}
    unet: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in configs["unet"].items()}
    networks = build_networks(
        WordTokenizer.load(folder / "tokenizer" / "tokenizer.json"),
        TextConfig(**configs["text_encoder"]),
        VolumeConfig(**configs["volume"]),
        UNetConfig(**unet),
    )
    for name, module in networks.modules().items():
        state = load_file(folder / name / "diffusion_pytorch_model.safetensors")
        module.load_state_dict({k: v.float() for k, v in state.items()})
    return networks.to(device).eval()


def weights_info(folder: Path = DEFAULT_FOLDER) -> dict:
    """What training wrote about the weights: steps, pictures seen, figures."""
    return json.loads((folder / "model_index.json").read_text())["info"]
