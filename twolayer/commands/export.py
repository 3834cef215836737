"""`twolayer export`: write a trained model as a file that other tools read."""

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--to", "kind", type=click.Choice(["onnx", "safetensors"]), required=True, help="Format of the file.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; by default beside the model.")
def command(model: Path, kind: str, out: Path | None) -> None:
    """Write MODEL, a run folder or an .npz file, as ONNX or safetensors.

    \b
    onnx         raw rows in, label and probabilities out; scaling and categories inside (extra: onnx)
    safetensors  for torch.nn.Sequential(Linear, ReLU, Linear); scaling and labels in the metadata (extra: safetensors)
    """
    from twolayer.interop.export import export_onnx, export_safetensors
    from twolayer.runs.checkpoint import load_model

    loaded = load_model(model)
    path = out or (model / f"model.{kind}" if model.is_dir() else model.with_suffix(f".{kind}"))
    (export_onnx if kind == "onnx" else export_safetensors)(loaded, path)
    click.echo(f"wrote {path}")
