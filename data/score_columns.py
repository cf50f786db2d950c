"""Facts about a score column from its name: the model family, the models' input, and the direction of their scores.

Facts about the zero-shot baselines of ProteinGym (Notin et al., NeurIPS 2023): the families and the directions of the
archive's file ``ref_zero_shot_model_columns_v1.3.csv``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A family of predictors.

    Attributes:
        name: Name of the family. For a column of no known model, it is the column's name without size and number.
        reads: ``alignment``, ``sequence``, ``structure``, or two of them joined by ``+``; "" if it is not known.
        direction: 1 if the model's own scores are greater for fitter mutants, -1 if they are smaller, 0 if that is not
            known. In the archive's merged tables greater already means fitter; in its folders of raw scores it may not.
    """

    name: str
    reads: str = ""
    direction: int = 0

    @property
    def is_known(self) -> bool:
        """Whether the family is a published model."""
        return self.direction != 0


# Keys are the beginnings of column names, in lowercase letters and digits. The longest key that fits counts.
_KNOWN = {
    "siteindependent": ModelFamily("Site_Independent", "alignment", 1),
    "evmutation": ModelFamily("EVmutation", "alignment", 1),
    "deepsequence": ModelFamily("DeepSequence", "alignment", -1),
    "eve": ModelFamily("EVE", "alignment", -1),
    "unirep": ModelFamily("Unirep", "sequence", -1),
    "unirepevotune": ModelFamily("Unirep_evotune", "alignment", -1),
    "msatransformer": ModelFamily("MSA_Transformer", "alignment", 1),
    "esmmsa1": ModelFamily("MSA_Transformer", "alignment", 1),
    "esm1b": ModelFamily("ESM1b", "sequence", 1),
    "esm1v": ModelFamily("ESM1v", "sequence", 1),
    "esm2": ModelFamily("ESM2", "sequence", 1),
    "esm3": ModelFamily("ESM3", "sequence+structure", 1),
    "esmc": ModelFamily("ESMC", "sequence", 1),
    "esmif1": ModelFamily("ESM-IF1", "structure", 1),
    "wavenet": ModelFamily("Wavenet", "alignment", -1),
    "rita": ModelFamily("RITA", "sequence", 1),
    "progen2": ModelFamily("Progen2", "sequence", 1),
    "progen3": ModelFamily("Progen3", "sequence", 1),
    "gemme": ModelFamily("GEMME", "alignment", 1),
    "vespa": ModelFamily("VESPA", "sequence", 1),
    "vespag": ModelFamily("VespaG", "sequence", 1),
    "protgpt2": ModelFamily("ProtGPT2", "sequence", 1),
    "tranception": ModelFamily("Tranception", "alignment", 1),
    "trancepteve": ModelFamily("TranceptEVE", "alignment", 1),
    "carp": ModelFamily("CARP", "sequence", 1),
    "mif": ModelFamily("MIF", "structure", 1),
    "mifst": ModelFamily("MIFST", "sequence+structure", 1),
    "proteinmpnn": ModelFamily("ProteinMPNN", "structure", 1),
    "protssn": ModelFamily("ProtSSN", "sequence+structure", 1),
    "saprot": ModelFamily("SaProt", "sequence+structure", 1),
    "poet": ModelFamily("PoET", "alignment", 1),
    "mulan": ModelFamily("MULAN", "sequence+structure", 1),
    "prosst": ModelFamily("ProSST", "sequence+structure", 1),
    "escott": ModelFamily("ESCOTT", "alignment+structure", 1),
    "venusrem": ModelFamily("VenusREM", "alignment+structure", 1),
    "rsalor": ModelFamily("RSALOR", "alignment+structure", -1),
    "s2f": ModelFamily("S2F", "sequence+structure", 1),
    "s2fmsa": ModelFamily("S2F_MSA", "alignment+structure", 1),
    "s3f": ModelFamily("S3F", "sequence+structure", 1),
    "s3fmsa": ModelFamily("S3F_MSA", "alignment+structure", 1),
    "siterm": ModelFamily("SiteRM", "alignment", 1),
    "xtrimopglm": ModelFamily("xTrimoPGLM", "sequence", 1),
    "aidoprotein": ModelFamily("AIDO.Protein", "alignment+structure", 1),
    "protriever": ModelFamily("Protriever", "alignment", 1),
}
_WITHOUT_RETRIEVAL = ModelFamily("Tranception_no_retrieval", "sequence", 1)
_VARIANT = re.compile(
    r"(?<=[A-Za-z0-9])[_ .-]+(?:\d+[A-Za-z]?|[smlSML]|x[lL]|small|medium|base|large|xlarge|single|ensemble|seed\d*)$"
)


def family(column: str) -> ModelFamily:
    """The family that a column belongs to, by its name.

    Example:
        >>> family("esm1v_t33_650M_UR90S_3").name, family("TranceptEVE_L").name, family("Packing_2").name
        ('ESM1v', 'TranceptEVE', 'Packing')
    """
    plain = re.sub(r"[^a-z0-9]", "", column.lower())
    if plain.startswith("tranception") and "noretrieval" in plain:
        return _WITHOUT_RETRIEVAL
    starts = [start for start in _KNOWN if plain.startswith(start)]
    if starts:
        return _KNOWN[max(starts, key=len)]
    name = column
    while (shorter := _VARIANT.sub("", name)) != name:
        name = shorter
    return ModelFamily(name)
