"""Register two images with a trained model, in both directions.

    python -m fire_tf.register --model runs/t1_flair_2d --moving T1.nii.gz --fixed FLAIR.nii.gz --output-prefix P_

Written are, on the grids of the two images as they were given:

    P_Warped.nii.gz, P_InverseWarped.nii.gz                 moving on the fixed grid, fixed on the moving grid
    P_CompositeWarp.nii.gz, P_InverseCompositeWarp.nii.gz   the whole maps, ITK displacement fields (LPS, mm)
    P_Composite.h5, P_InverseComposite.h5                   the same with --write h5: ITK's composites; also x5
    P_Affine.mat, P_InverseAffine.mat                       their affine parts alone, for ITK and ANTs
    P_SynthesizedB.nii.gz, P_SynthesizedA.nii.gz            each image in the other's modality, in its own place
    P_qc.json, P_qc.png                                     numbers and a picture to judge the result by

A model of hearts takes stacks slice by slice: each slice has an affine part of its own, and no ``.mat`` is written.
``--all-frames`` registers every frame of a 4D image, ``--batch`` every pair of a table, ``--bids`` those of a BIDS
dataset; see `fire_tf.series.beat`, `fire_tf.cohorts.cohort` and `fire_tf.bids.derivatives` for what they write.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from fire_tf.compat.devices import add_device_option, use_device
from fire_tf.files.errors import InputError, exit_cleanly
from fire_tf.files.outputs import check_writable, split_prefix
from fire_tf.files.paths import user_path
from fire_tf.geometry.names import WARP_FORMATS, further_formats

if TYPE_CHECKING:
    from fire_tf.cohorts.manifest import Cohort
    from fire_tf.registration.user_images import Options


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model",
        type=user_path,
        help="run folder, the model folder in it, or the name of one that comes along (fire-tf models); without it "
        "those that fit the images are listed",
    )
    parser.add_argument("--moving", type=user_path, help="image to be warped")
    parser.add_argument("--fixed", type=user_path, help="image that it is warped onto")
    parser.add_argument("--output-prefix", help="what the names of all files begin with")
    parser.add_argument("--moving-modality", help="modality of the moving image (default: the model's A)")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--affine-only", action="store_true", help="leave the non-rigid part out")
    parts.add_argument("--rigid", action="store_true", help="turns and shifts alone")
    parser.add_argument("--refine", action="store_true", help="improve the result on the pair itself; slower")
    parser.add_argument(
        "--frame", type=int, help="frame of 4D images, from 0; with --all-frames the fixed one's"
    )
    parser.add_argument("--all-frames", action="store_true", help="register every frame of a 4D moving image")
    parser.add_argument(
        "--warp-format",
        choices=WARP_FORMATS,
        default="itk",
        help="convention of the written fields (default: itk)",
    )
    parser.add_argument(
        "--write",
        type=further_formats,
        default=(),
        metavar="FORMATS",
        help="the whole maps in further files too: h5 (ITK's composites), x5 (nitransforms), or h5,x5",
    )
    add_device_option(parser)
    parser.add_argument("--threads", type=int, help="threads of the networks (default: TensorFlow's choice)")
    _add_knowledge(parser.add_argument_group("what is known of a pair"))
    _add_cohort(parser.add_argument_group("many pairs"))
    return parser


def _add_knowledge(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--initial-transform",
        type=user_path,
        metavar="AFFINE",
        help="where to start from: ITK's affine from fixed to moving points, as P_Affine.mat is",
    )
    for which in ("moving", "fixed"):
        group.add_argument(
            f"--{which}-mask",
            type=user_path,
            metavar="MASK",
            help=f"what counts of the {which} image: lesions and what lies beyond are 0, all else is not",
        )


def _add_cohort(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--batch", type=user_path, metavar="MANIFEST", help="CSV of many pairs: moving, fixed[, name]"
    )
    group.add_argument(
        "--bids", type=user_path, metavar="DIR", help="BIDS dataset: its pairs of --from and --to"
    )
    group.add_argument("--from", metavar="SUFFIX", help="the moving image: T1w, say, or desc-brain_T1w")
    group.add_argument("--to", metavar="SUFFIX", help="the fixed image")
    group.add_argument("--participant", nargs="+", default=(), metavar="LABEL", help="these alone")
    group.add_argument(
        "--output", type=user_path, help="derivatives dataset to write (default: DIR/derivatives/fire_tf)"
    )
    group.add_argument("--resume", action="store_true", help="pass over the pairs that are done")
    group.add_argument(
        "--shard",
        metavar="i/N",
        help="every N-th pair from the i-th on (default: what SLURM's array variables say, or all)",
    )
    group.add_argument(
        "--together", type=int, default=1, metavar="N", help="pairs in the networks at once (default: 1)"
    )
    group.add_argument(
        "--dask", metavar="WHERE", help="local:N workers on this machine, or the address of a scheduler"
    )
    group.add_argument(
        "--summary", action="store_true", help="register nothing: join all shards in a table and a page"
    )


def _check(chosen: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    many = chosen.batch or chosen.bids
    _check_pairs(chosen)
    if many and chosen.all_frames:
        raise InputError("--all-frames: for one pair, not with --batch or --bids")
    for name in ("initial_transform", "moving_mask", "fixed_mask"):
        if getattr(chosen, name) and (many or chosen.all_frames):
            raise InputError(
                f"--{name.replace('_', '-')}: for one pair, not with --batch, --bids or --all-frames"
            )
    for name in ("resume", "shard", "summary", "dask"):
        if getattr(chosen, name) and not many:
            raise InputError(f"--{name} needs --batch or --bids")
    if chosen.together < 1:
        raise InputError(f"--together {chosen.together}: expected at least 1")
    if chosen.dask and chosen.together > 1:
        raise InputError("--dask and --together do not go together: a worker registers one pair at a time")
    if chosen.dask and chosen.device:
        raise InputError("--dask and --device do not go together: workers have devices of their own")
    if chosen.summary and (chosen.shard or chosen.resume):
        raise InputError("--summary is of all pairs and registers none: it takes no --shard and no --resume")


def _check_pairs(chosen: argparse.Namespace) -> None:
    """Raise InputError where it is not said, in one way alone, which pairs are meant and where the results go."""
    many = [name for name in ("batch", "bids") if getattr(chosen, name)]
    one = [name for name in ("moving", "fixed") if getattr(chosen, name)]
    if len(many) > 1 or len(one) != (0 if many else 2):
        raise InputError(
            "give --moving and --fixed, or --batch and neither of them, or --bids and none of these"
        )
    for name in ("from", "to", "participant", "output"):
        if getattr(chosen, name) and not chosen.bids:
            raise InputError(f"--{name} needs --bids")
    if chosen.bids and not (getattr(chosen, "from") and chosen.to):
        raise InputError("--bids needs --from and --to")
    if bool(chosen.output_prefix) == bool(chosen.bids):
        raise InputError(
            "--bids takes --output and no --output-prefix" if chosen.bids else "give --output-prefix"
        )


@exit_cleanly
def main(arguments: Sequence[str] | None = None, prog: str = "python -m fire_tf.register") -> None:
    """The command; see the module's docstring."""
    chosen = _parser(prog).parse_args(arguments)
    _check(chosen)
    if chosen.bids and not chosen.output:
        chosen.output = chosen.bids / "derivatives" / "fire_tf"
    cohort = _cohort(chosen) if chosen.batch or chosen.bids else None
    if chosen.model is None and not chosen.summary:
        from fire_tf.registration.choice import ask_for_model

        raise ask_for_model(cohort.rows[0].moving if cohort else chosen.moving)
    check_writable(split_prefix(cohort.prefix if cohort else chosen.output_prefix)[0])
    _check_libraries(chosen.write)
    command = [*prog.split(), *(arguments or sys.argv[1:])]
    if cohort:
        if not _register_cohort(chosen, cohort, command):
            raise SystemExit(1)
        return
    # TensorFlow takes seconds to load, which a request for help and a wrong option need not wait for.
    from fire_tf.model.storage import load_to_register
    from fire_tf.registration.quality import provenance

    use_device(chosen.device)
    model, file = load_to_register(chosen.model, threads=chosen.threads, once=not chosen.all_frames)
    if chosen.all_frames:
        from fire_tf.series.beat import write_frames as write
    else:
        from fire_tf.registration.user_images import register_and_write as write
    made_with = provenance(command, file)
    for path in write(model, chosen.moving, chosen.fixed, chosen.output_prefix, _options(chosen), made_with):
        print(path)


def _check_libraries(formats: Sequence[str]) -> None:
    if formats:
        from fire_tf.transforms.writers import check_formats

        check_formats(formats)


def _options(chosen: argparse.Namespace) -> Options:
    from fire_tf.registration.start import read_start
    from fire_tf.registration.user_images import Options

    return Options(
        chosen.moving_modality,
        chosen.affine_only,
        chosen.refine,
        chosen.frame,
        chosen.warp_format,
        chosen.write,
        chosen.rigid,
        read_start(chosen.initial_transform) if chosen.initial_transform else None,
        chosen.moving_mask,
        chosen.fixed_mask,
    )


def _cohort(chosen: argparse.Namespace) -> Cohort:
    """The pairs of a table or of a BIDS dataset."""
    if chosen.batch:
        from fire_tf.cohorts.manifest import Cohort, read_manifest

        return Cohort(read_manifest(chosen.batch), chosen.output_prefix, [chosen.batch])
    from fire_tf.bids.output import check_output
    from fire_tf.cohorts.dataset import read_dataset

    check_output(chosen.output, chosen.bids)
    kinds = getattr(chosen, "from"), chosen.to
    return read_dataset(chosen.bids, *kinds, chosen.participant, chosen.output, chosen.moving_modality)


def _register_cohort(chosen: argparse.Namespace, cohort: Cohort, command: Sequence[str]) -> bool:
    """Whether all pairs succeeded."""
    from fire_tf.cohorts.manifest import read_shard, slurm_shard

    if chosen.summary:
        from fire_tf.cohorts.summary import summarise

        return summarise(cohort)
    use_device(chosen.device)
    shard = read_shard(chosen.shard) if chosen.shard else slurm_shard(os.environ)
    from fire_tf.cohorts.cohort import Attend, register_cohort
    from fire_tf.registration.quality import provenance

    attend: Attend
    if chosen.dask:
        from fire_tf.cohorts.cluster import attend_on_cluster
        from fire_tf.model.paths import MODEL, find_model

        file = find_model(chosen.model) / MODEL
        on = {"model": chosen.model, "threads": chosen.threads, "where": chosen.dask}
        attend = partial(attend_on_cluster, **on)
    else:
        from fire_tf.cohorts.overlap import attend_side_by_side
        from fire_tf.model.storage import load_to_register

        model, file = load_to_register(chosen.model, threads=chosen.threads)
        attend = partial(attend_side_by_side, model=model, together=chosen.together)
    if chosen.bids:
        from fire_tf.bids.output import begin_output

        begin_output(chosen.output, chosen.bids)
    work = cohort, _options(chosen), provenance(command, file)
    return register_cohort(attend, *work, shard=shard, resume=chosen.resume)


if __name__ == "__main__":
    main()
