"""Register two images with a model that a TensorFlow Serving server holds; TensorFlow itself is not needed here.

    python -m fire_tf.client --server localhost:8500 --moving T1.nii.gz --fixed FLAIR.nii.gz --output-prefix P_

writes what ``python -m fire_tf.register`` writes, with the same code; the server holds the model alone. ``host:port``
is spoken to by gRPC, ``http://host:port`` (or https) by REST, which sends a third more bytes; ``--tls``
encrypts either. The model must have been written by ``python -m fire_tf.export``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing

from fire_tf.files.errors import exit_cleanly
from fire_tf.files.outputs import check_writable, split_prefix
from fire_tf.files.paths import user_path
from fire_tf.geometry.names import WARP_FORMATS


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--server", required=True, help="host:port for gRPC, http://host:port for REST")
    parser.add_argument(
        "--model-name", default="fire", help="name of the model on the server (default: fire)"
    )
    parser.add_argument("--moving", type=user_path, required=True, help="image to be warped")
    parser.add_argument("--fixed", type=user_path, required=True, help="image that it is warped onto")
    parser.add_argument("--output-prefix", required=True, help="what the names of all files begin with")
    parser.add_argument("--moving-modality", help="modality of the moving image (default: the model's A)")
    parser.add_argument("--frame", type=int, help="frame of 4D images, from 0")
    parser.add_argument(
        "--warp-format",
        choices=WARP_FORMATS,
        default="itk",
        help="convention of the written fields (default: itk)",
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds to wait for an answer (default: 120)"
    )
    parser.add_argument("--tls", action="store_true", help="encrypt; what https://host:port does")
    parser.add_argument(
        "--ca",
        type=user_path,
        metavar="FILE",
        help="PEM file of the certificates to trust, for example the server's own; encrypts (default: the usual ones)",
    )
    return parser


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.client") -> None:
    """The command; see the module's docstring."""
    chosen = _parser(prog).parse_args(arguments)
    check_writable(split_prefix(chosen.output_prefix)[0])
    # nibabel and scipy, which a request for help need not wait for
    from fire_tf.registration.user_images import Options
    from fire_tf.serving.served_model import register_through
    from fire_tf.serving.transports import connect

    options = Options(
        moving_modality=chosen.moving_modality, frame=chosen.frame, warp_format=chosen.warp_format
    )
    command = [*prog.split(), *(arguments or sys.argv[1:])]
    files = chosen.moving, chosen.fixed, chosen.output_prefix
    with closing(
        connect(chosen.server, chosen.model_name, chosen.timeout, tls=chosen.tls, ca=chosen.ca)
    ) as server:
        written = register_through(server, *files, options, command)
    for path in written:
        print(path)


if __name__ == "__main__":
    main()
