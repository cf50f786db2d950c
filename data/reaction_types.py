"""The reaction types of the shipped set: forward templates, each with the groups that it does not tolerate."""

from __future__ import annotations

from dataclasses import dataclass

# If two types could give the same product, they use different blocks, as in a laboratory: acids couple with aliphatic
# amines and acid chlorides with anilines; benzylic amines come from aldehydes and other amines from bromides.
# Groups, as SMARTS. Amine: primary or secondary, nucleophilic (no amide, sulfonamide, carbamate, hydrazine).
_AMINE = "NX3;H1,H2;!$(N[C,S,P,B]=[O,S,N]);!$(N~[#7,#8]);!$(N[Si]);!$(Nc(:n):n)"
_AMINE_SITE = f"[{_AMINE}:3]"
_ALIPHATIC_AMINE_SITE = f"[{_AMINE};!$(Nc):3]"
_AROMATIC_AMINE_SITE = f"[{_AMINE};$(Nc):3]"
_SECONDARY_AMINE_SITE = "[NX3;H1;!$(N[C,S,P,B]=[O,S,N]);!$(N~[#7,#8]);!$(Nc):3]"
_ACID = "[CX3;$(C[#6]):1](=[O:2])[OX2H1]"

AMINE = f"[{_AMINE}]"
ACID = "[CX3](=O)[OX2H1]"
ALCOHOL = "[OX2H1][CX4]"
PHENOL = "[OX2H1]c"
BASIC_AMINE = "[NX3;!$(N[C,S,P,B]=[O,S,N]);!$(N~[#7,#8]);!$(Nc);!$(NC#N)]"
ALDEHYDE = "[CX3H1](=O)[#6]"
KETONE = "[#6][CX3](=O)[#6]"
ESTER = "[#6][CX3](=O)[OX2][#6]"
NITRO = "[N+](=O)[O-]"
NITRILE = "C#N"
AZIDE = "N=[N+]=[N-]"
ALKENE = "[CX3]=[CX3]"
ALKYNE = "C#C"
BORON = "B"
MAGNESIUM = "[Mg]"
SILYL_ETHER = "[OX2][Si]"
BENZYL_OXYGEN = "[OX2][CH2]c1ccccc1"
BOC = "NC(=O)OC(C)(C)C"
HETERO_H = "[#7,#8,#16;!H0]"
ARYL_BROMIDE = "c[Br,I]"
ALKYL_HALIDE = "[CX4][Cl,Br,I]"
ACTIVE_ACYL = "[C,S](=O)[Cl,Br]"
ISOCYANATE = "N=C=O"
PHOSPHORUS = "P"
SULFIDE = "[#6][SX2][#6]"

_ELECTROPHILES = (ACTIVE_ACYL, ISOCYANATE, ALKYL_HALIDE, MAGNESIUM)
_ALWAYS_TOO_REACTIVE = (*_ELECTROPHILES, AZIDE, BORON, PHOSPHORUS)


@dataclass(frozen=True)
class ReactionType:
    """One kind of reaction.

    Attributes:
        name: Its value in the data set's ``class`` column.
        template: Forward reaction SMARTS with one or two reactants. A building block is used only if its own pattern
            matches at exactly one place, and the other reactant's pattern at none.
        share: How common the type is, in units of nine reactions.
        forbidden: SMARTS that no reactant may contain besides the reacting group, because such a group would react too
            or chemists would not try the reaction.
        co_reactant: A fixed second reactant that the template leaves out, such as Boc anhydride.
        late: True if the reactant is usually made in an earlier step; then products of other types are used too.
    """

    name: str
    template: str
    share: int
    forbidden: tuple[str, ...] = ()
    co_reactant: str = ""
    late: bool = False


REACTION_TYPES = (
    ReactionType("amide coupling", f"{_ACID}.{_ALIPHATIC_AMINE_SITE}>>[C:1](=[O:2])[N:3]", 8, _ALWAYS_TOO_REACTIVE),
    ReactionType(
        "amine acylation",
        f"[CX3;$(C[#6]):1](=[O:2])[Cl].{_AROMATIC_AMINE_SITE}>>[C:1](=[O:2])[N:3]",
        3,
        (ACID, ISOCYANATE, MAGNESIUM, AZIDE, BORON, PHENOL),
    ),
    ReactionType(
        "sulfonamide formation",
        f"[S;$(S[#6]):1](=[O:2])(=[O:4])[Cl].{_AMINE_SITE}>>[S:1](=[O:2])(=[O:4])[N:3]",
        5,
        (ACID, ISOCYANATE, MAGNESIUM, AZIDE, BORON, PHENOL),
    ),
    ReactionType(
        "urea formation",
        f"[N:1]=[C:2]=[O:4].{_AMINE_SITE}>>[N:1][C:2](=[O:4])[N:3]",
        3,
        (ACID, ACTIVE_ACYL, MAGNESIUM, AZIDE, BORON, ALKYL_HALIDE),
    ),
    ReactionType(
        "carbamate formation",
        f"[C:1](=[O:2])([O:4][#6:5])[Cl].{_AMINE_SITE}>>[C:1](=[O:2])([O:4][#6:5])[N:3]",
        2,
        (ACID, ISOCYANATE, MAGNESIUM, AZIDE, BORON, PHENOL),
    ),
    ReactionType(
        "Boc protection",
        f"{_AMINE_SITE}>>[N:3]C(=O)OC(C)(C)C",
        1,
        (*_ALWAYS_TOO_REACTIVE, BOC),
        "CC(C)(C)OC(=O)OC(=O)OC(C)(C)C",
    ),
    ReactionType(
        "Boc deprotection",
        "[N:1]C(=O)OC(C)(C)C>>[N:1]",
        5,
        (*_ALWAYS_TOO_REACTIVE, ALDEHYDE, SILYL_ETHER, "[CX4]C(=O)OC(C)(C)C"),
        late=True,
    ),
    ReactionType(
        "Cbz protection",
        f"{_AMINE_SITE}>>[N:3]C(=O)OCc1ccccc1",
        1,
        (*_ALWAYS_TOO_REACTIVE, "NC(=O)OCc1ccccc1"),
        "O=C(Cl)OCc1ccccc1",
    ),
    ReactionType(
        "Cbz deprotection",
        "[N:1]C(=O)OCc1ccccc1>>[N:1]",
        2,
        (*_ALWAYS_TOO_REACTIVE, ALDEHYDE, NITRO, ALKENE, ALKYNE, ARYL_BROMIDE, "[#6][OX2;!$(OC=O)][CH2]c1ccccc1"),
        late=True,
    ),
    ReactionType(
        "Suzuki coupling",
        "[c:1][Br].[#6;$(c),$(C=C):2][B;$(B(O)O)]([#8])[#8]>>[c:1]-[#6:2]",
        6,
        (*_ELECTROPHILES, AZIDE, ACID, "cI", ALKYNE),
    ),
    ReactionType(
        "Sonogashira coupling",
        "[c:1][I].[CH1:2]#[C:3]>>[c:1]-[C:2]#[C:3]",
        3,
        (*_ALWAYS_TOO_REACTIVE, ACID, "cBr"),
    ),
    ReactionType(
        "Buchwald amination",
        f"[c:1][Br].{_AMINE_SITE}>>[c:1][N:3]",
        3,
        (
            *_ALWAYS_TOO_REACTIVE,
            ACID,
            ALCOHOL,
            PHENOL,
            ALDEHYDE,
            "cI",
            "[CX3](=O)[CH3]",
            "nc[Cl]",
            ALKYNE,
            NITRO,
            NITRILE,
            "[Br]c1cncnc1",
        ),
    ),
    ReactionType(
        "aromatic substitution by an amine",
        "[c;$(c(:n)),$(c1ccc([N+](=O)[O-])cc1),$(c1ccccc1[N+](=O)[O-]),$(c1ccc(C#N)cc1):1]"
        f"[Cl,F;!$(Fc:n)].{_ALIPHATIC_AMINE_SITE}>>[c:1][N:3]",
        4,
        (*_ALWAYS_TOO_REACTIVE, ACID, ALDEHYDE),
    ),
    ReactionType(
        "phenol alkylation",
        "[OX2H1;$(Oc):1].[CX4;H2,H3:2][Br]>>[O:1][C:2]",
        5,
        (ACTIVE_ACYL, ISOCYANATE, MAGNESIUM, AZIDE, BORON, ACID, AMINE),
    ),
    ReactionType(
        "amine alkylation",
        f"{_SECONDARY_AMINE_SITE}.[CX4;H2,H3;!$(Cc):2][Br]>>[N:3][C:2]",
        3,
        (ACTIVE_ACYL, ISOCYANATE, MAGNESIUM, AZIDE, BORON, ACID, PHENOL),
    ),
    ReactionType(
        "reductive amination",
        f"[CX3;$([CH1]c),$(C1CCNCC1),$(C1CCOCC1),$(C1COC1):1]=[O].{_ALIPHATIC_AMINE_SITE}>>[C:1][N:3]",
        5,
        (*_ALWAYS_TOO_REACTIVE, ACID, "O=[CX3]([#6])[c,CH3]"),
    ),
    ReactionType(
        "ester hydrolysis",
        "[CX3;$(C[#6]):1](=[O:2])[O:3][CH3,$([CH2][CH3])]>>[C:1](=[O:2])[OH:3]",
        5,
        (*_ALWAYS_TOO_REACTIVE, ACID, "nc[Cl]", "C=CC(=O)O"),
        late=True,
    ),
    ReactionType(
        "esterification",
        f"{_ACID}.[OX2H1;$(O[CX4]):3]>>[C:1](=[O:2])[O:3]",
        3,
        (*_ALWAYS_TOO_REACTIVE, AMINE, PHENOL),
    ),
    ReactionType(
        "nitro reduction",
        "[c:1][N+](=O)[O-]>>[c:1][NH2]",
        4,
        (*_ALWAYS_TOO_REACTIVE, ALDEHYDE, ALKENE, ALKYNE, BENZYL_OXYGEN, ARYL_BROMIDE),
        late=True,
    ),
    ReactionType(
        "ketone reduction",
        "[#6:1][CX3;!$(C(c)c):2](=[O:3])[#6:4]>>[#6:1][C:2]([OH:3])[#6:4]",
        3,
        (*_ALWAYS_TOO_REACTIVE, ALDEHYDE, AMINE, NITRO, ACID),
        late=True,
    ),
    ReactionType(
        "alcohol oxidation",
        "[CX4H2;$(C[#6]):1][OH:2]>>[C:1]=[O:2]",
        2,
        (*_ALWAYS_TOO_REACTIVE, AMINE, SULFIDE, ACID, "[OX2H1][CX4H1]", PHENOL),
        late=True,
    ),
    ReactionType(
        "aldehyde oxidation",
        "[CX3H1;$(C[#6]):1]=[O:2]>>[C:1](=[O:2])O",
        1,
        (*_ALWAYS_TOO_REACTIVE, AMINE, SULFIDE, ALCOHOL, PHENOL),
        late=True,
    ),
    ReactionType(
        "silyl protection",
        "[OX2H1;$(O[CX4]):1]>>[O:1][Si](C)(C)C(C)(C)C",
        1,
        (*_ALWAYS_TOO_REACTIVE, AMINE, PHENOL, ACID, SILYL_ETHER),
        "CC(C)(C)[Si](C)(C)Cl",
        late=True,
    ),
    ReactionType(
        "silyl deprotection",
        "[O:1][Si](C)(C)C(C)(C)C>>[OH:1]",
        3,
        (*_ALWAYS_TOO_REACTIVE,),
        late=True,
    ),
    ReactionType(
        "acid chloride formation",
        f"{_ACID}>>[C:1](=[O:2])Cl",
        2,
        (*_ALWAYS_TOO_REACTIVE, AMINE, ALCOHOL, PHENOL, BOC, SILYL_ETHER, ALDEHYDE),
        "O=S(Cl)Cl",
    ),
    ReactionType(
        "Grignard addition",
        "[CX3H1;$(C[#6]):1]=[O:2].[#6:3][Mg][Br]>>[C:1]([OH:2])[#6:3]",
        2,
        (HETERO_H, ESTER, NITRO, NITRILE, ALKYL_HALIDE, ISOCYANATE, ACTIVE_ACYL, BORON, AZIDE, KETONE, PHOSPHORUS),
    ),
    ReactionType(
        "azide-alkyne cycloaddition",
        "[#6:1][N:2]=[N+:3]=[N-:4].[CH1:5]#[C:6]>>[#6:1]-[n+0:2]1[n+0:3][n+0:4][c:6][c:5]1",
        2,
        (*_ELECTROPHILES, ACID, BORON),
    ),
    ReactionType(
        "Horner-Wadsworth-Emmons olefination",
        "[#6:4][CX3H1:1]=[O].[CH2:2]([C:3])P(=O)(O[#6])O[#6]>>[#6:4]/[CH1:1]=[CH1:2]/[C:3]",
        2,
        (*_ELECTROPHILES, AZIDE, BORON, AMINE, ACID, KETONE),
    ),
    ReactionType(
        "benzyl ether cleavage",
        "[c:1][O:2][CH2]c1ccccc1>>[c:1][OH:2]",
        2,
        (*_ALWAYS_TOO_REACTIVE, NITRO, ALKENE, ALKYNE, ARYL_BROMIDE, "C(=O)OCc1ccccc1", "[Cl]c:n"),
        late=True,
    ),
    ReactionType(
        "sulfide oxidation",
        "[#6:1][SX2:2][#6:3]>>[#6:1][S:2](=O)(=O)[#6:3]",
        1,
        (*_ALWAYS_TOO_REACTIVE, AMINE, ALDEHYDE),
    ),
    ReactionType(
        "alcohol bromination",
        "[CX4H2;$(C[#6]):1][OH]>>[C:1]Br",
        1,
        (*_ALWAYS_TOO_REACTIVE, AMINE, PHENOL, ACID, SILYL_ETHER, BASIC_AMINE),
        "BrP(Br)Br",
        late=True,
    ),
)
