"""MR signal equations, tissue constants at 3 T, and what a scanner adds: noise and a bias field.

Times are in milliseconds; signals are relative to the equilibrium magnetisation of
pure water. Everything here is plain NumPy and broadcasts.

References (the constants of `TISSUES` name them by first author):

- Wansapura et al., "NMR relaxation times in the human brain at 3.0 Tesla", JMRI 9:531-538, 1999.
- Lu et al., "Routine clinical brain MRI sequences for use at 3.0 Tesla", JMRI 22:13-22, 2005.
- Piechnik et al., "Functionally induced changes in water transverse relaxation of cerebrospinal fluid [...]",
  MRM 61:579-586, 2009.
- Wright et al., "Water proton T1 measurements in brain tissue at 7, 3, and 1.5T using IR-EPI, IR-TSE, and
  MPRAGE", MAGMA 21:121-130, 2008.
- Gelman et al., "MR imaging of human brain at 3.0 T: preliminary report on transverse relaxation rates",
  Radiology 210:759-767, 1999.
- Whittall et al., "In vivo measurement of T2 distributions and water contents in normal human brain",
  MRM 37:34-43, 1997.
- Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", MRM 34:910-914, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Tissue(NamedTuple):
    """Proton density relative to water, and relaxation times in ms."""

    density: float
    t1: float
    t2: float


# Proton densities are water contents: about 0.82 in grey and 0.70 in white matter (Whittall 1997).
# Cortex and white matter: T1 1331 and 832, T2 110 and 79 (Wansapura 1999). CSF: T1 3817 (Lu 2005), T2 503
# (Piechnik 2009). Striatum: T1 between caudate, 1395, and putamen, 1332 (Wright 2008, where cortex has 1607),
# scaled to the cortex used here. Pallidum: its T2 is 0.56 of the frontal cortex's (Gelman 1999: R2 25.8 and
# 14.4 per second). What has no source is chosen between its neighbours and says so.
TISSUES: dict[str, Tissue] = {
    "csf": Tissue(1.00, 3817.0, 503.0),
    "cortex": Tissue(0.82, 1331.0, 110.0),
    "white_matter": Tissue(0.70, 832.0, 79.2),
    "thalamus": Tissue(0.78, 1050.0, 88.0),  # chosen: grey matter with much myelin
    "striatum": Tissue(0.82, 1130.0, 88.0),  # T2 chosen: between cortex and pallidum
    "pallidum": Tissue(0.76, 930.0, 61.0),  # T1 chosen: close to white matter, as on any T1-weighted image
    "cerebellar_cortex": Tissue(0.82, 1250.0, 100.0),  # chosen: cortex less the fine laminae of white matter
    "cerebellar_white_matter": Tissue(0.70, 832.0, 79.2),
    "brain_stem": Tissue(0.73, 900.0, 88.0),  # chosen: tracts with scattered nuclei
    "hyperintensity": Tissue(0.78, 1250.0, 150.0),  # chosen: bright on FLAIR, grey on T1
}


@dataclass(frozen=True)
class InversionRecovery:
    """Inversion-recovery spin echo, magnitude image.

    S = PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)| exp(-TE / T2), for TE much shorter than TR.
    """

    repetition: float
    echo: float
    inversion: float

    def signal(self, tissue: Tissue) -> float:
        """Signal of `tissue` (steady state), relative to pure water at full magnetisation."""
        recovered = 1.0 - 2.0 * np.exp(-self.inversion / tissue.t1) + np.exp(-self.repetition / tissue.t1)
        return float(tissue.density * abs(recovered) * np.exp(-self.echo / tissue.t2))


# T1 stands for MPRAGE: the inversion-prepared contrast at the centre of k-space, without the readout's train
# of small pulses. FLAIR nearly nulls CSF (TI 2500; for T1 = 3817 ms and TR 11000 ms the null is at TI 2438).
# IR is read out before any tissue has passed its null, so that its magnitude falls with the speed of
# recovery: CSF, then cortex, then white matter.
SEQUENCES: dict[str, InversionRecovery] = {
    "T1": InversionRecovery(repetition=2500.0, echo=4.0, inversion=1200.0),
    "FLAIR": InversionRecovery(repetition=11000.0, echo=100.0, inversion=2500.0),
    "IR": InversionRecovery(repetition=4400.0, echo=15.0, inversion=400.0),
}


def rician_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of `image` with Gaussian noise of standard deviation `sigma` in both channels (float32)."""
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    return np.hypot(real, imaginary)
