"""What is known of a score column by its name: the family of models, what they read, and which way their scores run.

Facts about the zero-shot baselines of ProteinGym (Notin et al., NeurIPS 2023): the families and the directions of the
archive's file ``ref_zero_shot_model_columns_v1.3.csv``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """A family of predictors.

    Attributes:
        name: What it is called; for a column of no known model, its name without size and number.
        reads: ``alignment``, ``sequence``, ``structure``, or two of them joined by ``+``; "" where it is not known.
        direction: 1 if the model's own scores are greater for fitter mutants, -1 if they are less, 0 if that is not
            known. The archive's merged tables are turned already; its folders of raw scores are not.
    """

    name: str
    reads: str = ""
    direction: int = 0

    @property
    def is_known(self) -> bool:
        """Whether it is a published model."""
        return self.direction != 0


# By the start of the column's name in small letters and digits; the longest that fits counts.
_KNOWN = {
    "siteindependent": Family("Site_Independent", "alignment", 1),
    "evmutation": Family("EVmutation", "alignment", 1),
    "deepsequence": Family("DeepSequence", "alignment", -1),
    "eve": Family("EVE", "alignment", -1),
    "unirep": Family("Unirep", "sequence", -1),
    "unirepevotune": Family("Unirep_evotune", "alignment", -1),
    "msatransformer": Family("MSA_Transformer", "alignment", 1),
    "esmmsa1": Family("MSA_Transformer", "alignment", 1),
    "esm1b": Family("ESM1b", "sequence", 1),
    "esm1v": Family("ESM1v", "sequence", 1),
    "esm2": Family("ESM2", "sequence", 1),
    "esm3": Family("ESM3", "sequence+structure", 1),
    "esmc": Family("ESMC", "sequence", 1),
    "esmif1": Family("ESM-IF1", "structure", 1),
    "wavenet": Family("Wavenet", "alignment", -1),
    "rita": Family("RITA", "sequence", 1),
    "progen2": Family("Progen2", "sequence", 1),
    "progen3": Family("Progen3", "sequence", 1),
    "gemme": Family("GEMME", "alignment", 1),
    "vespa": Family("VESPA", "sequence", 1),
    "vespag": Family("VespaG", "sequence", 1),
    "protgpt2": Family("ProtGPT2", "sequence", 1),
    "tranception": Family("Tranception", "alignment", 1),
    "trancepteve": Family("TranceptEVE", "alignment", 1),
    "carp": Family("CARP", "sequence", 1),
    "mif": Family("MIF", "structure", 1),
    "mifst": Family("MIFST", "sequence+structure", 1),
    "proteinmpnn": Family("ProteinMPNN", "structure", 1),
    "protssn": Family("ProtSSN", "sequence+structure", 1),
    "saprot": Family("SaProt", "sequence+structure", 1),
    "poet": Family("PoET", "alignment", 1),
    "mulan": Family("MULAN", "sequence+structure", 1),
    "prosst": Family("ProSST", "sequence+structure", 1),
    "escott": Family("ESCOTT", "alignment+structure", 1),
    "venusrem": Family("VenusREM", "alignment+structure", 1),
    "rsalor": Family("RSALOR", "alignment+structure", -1),
    "s2f": Family("S2F", "sequence+structure", 1),
    "s2fmsa": Family("S2F_MSA", "alignment+structure", 1),
    "s3f": Family("S3F", "sequence+structure", 1),
    "s3fmsa": Family("S3F_MSA", "alignment+structure", 1),
    "siterm": Family("SiteRM", "alignment", 1),
    "xtrimopglm": Family("xTrimoPGLM", "sequence", 1),
    "aidoprotein": Family("AIDO.Protein", "alignment+structure", 1),
    "protriever": Family("Protriever", "alignment", 1),
}
_WITHOUT_RETRIEVAL = Family("Tranception_no_retrieval", "sequence", 1)
_VARIANT = re.compile(
    r"(?<=[A-Za-z0-9])[_ .-]+(?:\d+[A-Za-z]?|[smlSML]|x[lL]|small|medium|base|large|xlarge|single|ensemble|seed\d*)$"
)


def family(column: str) -> Family:
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
    return Family(name)
