"""The molecules that the shipped reactions are made from.

They are small, look purchasable, and were written for this project.

Many have a second functional group that takes no part in the reaction. So several disconnections of a product look
possible, and only precedents tell which one is right. The comments name the group that a block is listed for. Only the
structure of a block decides which reactions it enters.
"""

from __future__ import annotations

ACIDS = (
    # aromatic and heteroaromatic; none is also listed as an acid chloride
    "OC(=O)c1ccc(Br)cc1",
    "OC(=O)c1cccc(Br)c1",
    "OC(=O)c1ccc(C#N)cc1",
    "COC(=O)c1ccc(C(=O)O)cc1",
    "OC(=O)c1cc([N+](=O)[O-])ccc1F",
    "OC(=O)c1ccc([N+](=O)[O-])c(OC)c1",
    "OC(=O)c1cccnc1Cl",
    "OC(=O)c1cnc2ccccc2c1",
    "OC(=O)c1cc2ccccc2[nH]1",
    "OC(=O)c1csc(C)n1",
    "OC(=O)c1cnn(C)c1C(F)(F)F",
    "OC(=O)c1ccc(OCc2ccccc2)cc1",
    "OC(=O)c1ccc(S(C)(=O)=O)cc1",
    "CC(=O)c1ccc(C(=O)O)cc1",
    # aliphatic
    "OC(=O)Cc1ccc(OC)cc1",
    "OC(=O)Cc1c[nH]c2ccccc12",
    "OC(=O)CCc1ccccc1Cl",
    "OC(=O)C1CCOCC1",
    "OC(=O)C1CCC(F)(F)CC1",
    "OC(=O)C1(c2ccc(Cl)cc2)CC1",
    "OC(=O)CCC(=O)OC",
    "OC(=O)COc1ccc(Cl)cc1C",
    "OC(=O)C[C@@H]1CCCO1",
    "C[C@H](C(=O)O)c1ccc(F)cc1",
    # protected amino acids
    "CC(C)(C)OC(=O)N[C@@H](C)C(=O)O",
    "CC(C)(C)OC(=O)N[C@@H](Cc1ccccc1)C(=O)O",
    "CC(C)(C)OC(=O)N[C@@H](CC(C)C)C(=O)O",
    "CC(C)(C)OC(=O)N1CCC[C@H]1C(=O)O",
    "CC(C)(C)OC(=O)NCC(=O)O",
    "O=C(O)[C@H](CO)NC(=O)OCc1ccccc1",
    "O=C(O)[C@H](C(C)C)NC(=O)OCc1ccccc1",
    "O=C(O)C1CCN(C(=O)OCc2ccccc2)CC1",
)

AMINES = (
    # primary
    "NCc1ccc(F)cc1",
    "NCc1ccc(OC)c(OC)c1",
    "NCc1cccnc1",
    "NCc1ccc(C(=O)OC)cc1",
    "NCCc1c[nH]c2ccc(F)cc12",
    "NCCc1ccc(Cl)cc1",
    "NCC1CCOCC1",
    "NC1CC1",
    "NCC(F)(F)F",
    "NC1CCC(CO)CC1",
    "C[C@@H](N)c1ccccc1",
    "N[C@H]1CCc2ccccc21",
    "COC(=O)[C@@H](N)Cc1ccccc1",
    "COC(=O)[C@@H](N)C(C)C",
    "COC(=O)[C@@H](N)CO",
    "CCOC(=O)CN",
    "NCCNC(=O)OC(C)(C)C",
    "NCCCNC(=O)OCc1ccccc1",
    "NCC1CCN(C(=O)OCc2ccccc2)CC1",
    "NCCO[Si](C)(C)C(C)(C)C",
    # secondary
    "C1COCCN1",
    "CN1CCNCC1",
    "O=C(OC(C)(C)C)N1CCNCC1",
    "CCOC(=O)C1CCNCC1",
    "OC1CCNCC1",
    "FC1(F)CCNCC1",
    "c1ccc2c(c1)CCNC2",
    "COC(=O)[C@@H]1CCCN1",
    "CC(C)(C)OC(=O)N[C@H]1CCNC1",
    "CNCCc1ccccc1",
    "CNC1CCCCC1",
    # aromatic
    "Nc1ccc(F)cc1",
    "Nc1cccc(Cl)c1",
    "Nc1ccc(OC)cc1",
    "Nc1ccc(Br)cc1C",
    "Nc1cccc([N+](=O)[O-])c1",
    "Nc1ccc(C(=O)OCC)cc1",
    "Nc1ccc(C(C)=O)cc1",
    "Nc1cnc2ccccc2c1",
    "Nc1ccc(OCc2ccccc2)cc1",
    "Nc1ccc(C(F)(F)F)cn1",
)

ACID_CHLORIDES = (
    "CC(=O)Cl",
    "O=C(Cl)C1CC1",
    "O=C(Cl)c1ccc(F)cc1",
    "O=C(Cl)Cc1ccccc1",
    "O=C(Cl)c1ccco1",
    "O=C(Cl)c1cccs1",
    "CC(C)(C)C(=O)Cl",
    "O=C(Cl)C=C",
    "O=C(Cl)CCl",
    "O=C(Cl)c1c(Cl)cccc1Cl",
)

SULFONYL_CHLORIDES = (
    "CS(=O)(=O)Cl",
    "Cc1ccc(S(=O)(=O)Cl)cc1",
    "O=S(=O)(Cl)c1ccc(F)cc1",
    "O=S(=O)(Cl)c1ccccc1[N+](=O)[O-]",
    "COc1ccc(S(=O)(=O)Cl)cc1",
    "O=S(=O)(Cl)C1CC1",
    "O=S(=O)(Cl)c1cccs1",
    "O=S(=O)(Cl)c1cccc(C#N)c1",
    "COC(=O)c1ccc(S(=O)(=O)Cl)cc1",
    "O=S(=O)(Cl)c1ccc(Br)cc1",
)

ISOCYANATES = (
    "O=C=Nc1ccccc1",
    "O=C=Nc1ccc(Cl)cc1",
    "O=C=Nc1ccc(OC)cc1",
    "O=C=Nc1cccc(C(F)(F)F)c1",
    "CCN=C=O",
    "O=C=NC1CCCCC1",
    "CCOC(=O)CN=C=O",
    "O=C=NCc1ccccc1",
    "O=C=Nc1ccc(Br)cc1",
)

CHLOROFORMATES = (
    "COC(=O)Cl",
    "CCOC(=O)Cl",
    "CC(C)COC(=O)Cl",
    "O=C(Cl)OCC=C",
    "O=C(Cl)Oc1ccccc1",
    "O=C(Cl)OCC(Cl)(Cl)Cl",
)

ARYL_BROMIDES = (
    "Brc1ccc2ncccc2c1",
    "COc1ccc(Br)cc1OC",
    "CC(=O)c1ccc(Br)s1",
    "COC(=O)c1ccc(Br)cc1",
    "CCOC(=O)c1cc(Br)ccc1C",
    "N#Cc1ccc(Br)cc1F",
    "Cc1cc(Br)ccc1[N+](=O)[O-]",
    "Brc1cncnc1",
    "O=Cc1ccc(Br)cc1",
    "O=Cc1cc(Br)ccc1OC",
    "CC(C)(C)OC(=O)NCc1ccc(Br)cc1",
    "CC(C)(C)[Si](C)(C)OCc1cccc(Br)c1",
    "OCc1ccc(Br)c(F)c1",
    "Cn1cc(Br)c(C(F)(F)F)n1",
    "CS(=O)(=O)c1ccc(Br)cc1",
    "Brc1ccc2[nH]ccc2c1",
    "CC(=O)Nc1ccc(Br)cc1",
)

ARYL_IODIDES = (
    "Ic1ccccc1",
    "COc1ccc(I)cc1",
    "COC(=O)c1cccc(I)c1",
    "Nc1ccc(I)cc1",
    "O=Cc1ccc(I)cc1",
    "Ic1ccc([N+](=O)[O-])cc1",
    "Cc1ccc(I)nc1",
    "CC(=O)c1ccc(I)cc1",
    "Oc1ccc(I)cc1",
    "N#Cc1ccc(I)cc1",
    "CC(C)(C)OC(=O)Nc1ccc(I)cc1",
    "FC(F)(F)c1cccc(I)c1",
)

BORON = (
    "OB(O)c1ccccc1",
    "OB(O)c1ccc(F)cc1",
    "COc1cccc(B(O)O)c1",
    "CC(=O)c1cccc(B(O)O)c1",
    "N#Cc1cccc(B(O)O)c1",
    "OB(O)c1ccc(Cl)cc1F",
    "O=Cc1cccc(B(O)O)c1",
    "COC(=O)c1cccc(B(O)O)c1",
    "OB(O)c1ccc2OCOc2c1",
    "OB(O)c1ccsc1",
    "OB(O)c1ccc(O)cc1",
    "CN(C)c1ccc(B(O)O)cc1",
    "OB(O)c1ccncc1",
    "CC1(C)OB(c2cnn(C)c2)OC1(C)C",
    "CC1(C)OB(c2ccc(N)nc2)OC1(C)C",
    "CC1(C)OB(C2=CCN(C(=O)OC(C)(C)C)CC2)OC1(C)C",
    "CC1(C)OB(c2ccc3[nH]ncc3c2)OC1(C)C",
    "CC1(C)OB(C2=CCOCC2)OC1(C)C",
)

ALKYNES = (
    "C#Cc1ccccc1",
    "C#Cc1ccc(F)cc1",
    "C#Cc1cccnc1",
    "C#CCO",
    "C#CC(C)(C)O",
    "C#CCCCC",
    "C#C[Si](C)(C)C",
    "C#CC1CC1",
    "C#CCNC(=O)OC(C)(C)C",
    "C#CCCO[Si](C)(C)C(C)(C)C",
    "C#Cc1ccc(C(=O)OC)cc1",
)

AZIDES = (
    "[N-]=[N+]=NCc1ccccc1",
    "[N-]=[N+]=NCc1ccc(OC)cc1",
    "[N-]=[N+]=NCC(=O)OCC",
    "[N-]=[N+]=NCCCO",
    "[N-]=[N+]=Nc1ccc(F)cc1",
    "[N-]=[N+]=NCCNC(=O)OC(C)(C)C",
    "[N-]=[N+]=NC1CCOCC1",
    "[N-]=[N+]=NCc1ccc(Br)cc1",
)

HETEROARYL_CHLORIDES = (
    "Clc1ncccn1",
    "Clc1ncnc2ccccc12",
    "Cc1cc(Cl)ncn1",
    "COc1cc2ncnc(Cl)c2cc1OC",
    "Clc1ccc(C(F)(F)F)cn1",
    "N#Cc1ccc(Cl)nc1",
    "O=[N+]([O-])c1ccc(Cl)nc1",
    "Clc1nc2ccccc2o1",
    "Clc1ncc(Br)cn1",
    "CCOC(=O)c1cnc(Cl)nc1",
    "Clc1ccc(-c2ccccc2)nn1",
    "Clc1ncnc2sccc12",
)

ARYL_FLUORIDES = (
    "O=[N+]([O-])c1ccc(F)cc1",
    "O=[N+]([O-])c1ccccc1F",
    "COC(=O)c1ccc(F)c([N+](=O)[O-])c1",
    "N#Cc1ccc(F)cc1C(F)(F)F",
    "Cc1cc(F)ccc1[N+](=O)[O-]",
)

PHENOLS = (
    "Oc1ccc(F)cc1",
    "Oc1cccc(Br)c1",
    "COC(=O)c1ccc(O)cc1",
    "COC(=O)c1cccc(O)c1",
    "O=Cc1ccc(O)c(OC)c1",
    "O=Cc1cccc(O)c1",
    "CC(=O)c1ccc(O)cc1",
    "Oc1ccc([N+](=O)[O-])cc1",
    "N#Cc1ccc(O)cc1",
    "Oc1ccc2ncccc2c1",
    "CC(=O)Nc1ccc(O)cc1",
    "CC(C)(C)OC(=O)NCCc1ccc(O)cc1",
    "COC(=O)[C@H](Cc1ccc(O)cc1)NC(=O)OC(C)(C)C",
    "Oc1ccc(-c2ccccc2)cc1",
)

ALKYL_BROMIDES = (
    "BrCc1ccccc1",
    "BrCc1ccc(C(F)(F)F)cc1",
    "BrCc1cccc(C#N)c1",
    "COC(=O)c1ccc(CBr)cc1",
    "BrCc1ccc([N+](=O)[O-])cc1",
    "CCOC(=O)CBr",
    "CC(C)(C)OC(=O)CBr",
    "CCOC(=O)CCCBr",
    "BrCC1CC1",
    "BrCCOC",
    "C=CCBr",
    "C#CCBr",
    "BrCCCc1ccccc1",
    "O=C(CBr)c1ccc(Cl)cc1",
    "BrCCCN1C(=O)c2ccccc2C1=O",
    "BrCCO[Si](C)(C)C(C)(C)C",
    "CC(C)CCBr",
    "BrCCNC(=O)OC(C)(C)C",
)

ALCOHOLS = (
    "CO",
    "CCO",
    "CC(C)O",
    "OCc1ccc(Cl)cc1",
    "OCc1ccc([N+](=O)[O-])cc1",
    "OCc1cccnc1",
    "OCc1csc(-c2ccccc2)n1",
    "OCCc1ccc(Br)cc1",
    "OCCN1CCOCC1",
    "OC1CCN(C(=O)OC(C)(C)C)CC1",
    "OC[C@@H]1CCCN1C(=O)OC(C)(C)C",
    "OC[C@H](Cc1ccccc1)NC(=O)OC(C)(C)C",
    "COC(=O)[C@@H](O)Cc1ccccc1",
    "COC(=O)c1ccc(CO)cc1",
    "OCC1CCC(C(=O)OC)CC1",
    "C[C@@H](O)c1ccccc1",
    "OC1Cc2ccccc2C1",
    "OCC#Cc1ccccc1",
    "OCCCNC(=O)OCc1ccccc1",
    "OC1CCC(=O)CC1",
    "COc1ccc(CCCO)cc1",
    "OCc1cc2ccccc2o1",
)

ALDEHYDES = (
    "O=Cc1ccccc1C",
    "O=Cc1ccc(Cl)cc1",
    "O=Cc1ccc(C(F)(F)F)cc1F",
    "O=Cc1ccc(OCc2ccccc2)cc1",
    "COC(=O)c1ccc(C=O)cc1",
    "O=Cc1ccc([N+](=O)[O-])cc1",
    "O=Cc1ccc(C#N)cc1",
    "O=Cc1cccnc1",
    "O=Cc1cc2ccccc2n1C",
    "O=Cc1cnc(Cl)s1",
    "O=CC1CCCCC1",
    "O=CCC(C)C",
    "O=CC1CCN(C(=O)OC(C)(C)C)CC1",
    "O=CCc1ccccc1",
    "O=CCCO[Si](C)(C)C(C)(C)C",
    "O=Cc1ccc(-c2ccccn2)cc1",
)

KETONES = (
    "O=C1CCN(C(=O)OC(C)(C)C)CC1",
    "O=C1CCOCC1",
    "O=C1CCCCC1",
    "O=C1COC1",
    "O=C1CCC(c2ccccc2)CC1",
    "O=C1CCc2cc(OC)ccc21",
    "O=C1CCCc2ccccc21",
    "CC(=O)c1ccc2OCCOc2c1",
    "CC(=O)c1cnc(C)s1",
    "CCOC(=O)C1CCC(=O)CC1",
    "O=C(c1ccccc1)C1CCN(C(=O)OC(C)(C)C)CC1",
    "CC(=O)c1cccc(C(F)(F)F)c1",
    "O=C(C)c1cccc(Br)c1",
)

GRIGNARDS = (
    "C[Mg]Br",
    "CC[Mg]Br",
    "Br[Mg]c1ccccc1",
    "Br[Mg]c1ccc(F)cc1",
)

PHOSPHONATES = (
    "CCOC(=O)CP(=O)(OCC)OCC",
    "COC(=O)CP(=O)(OC)OC",
    "CC(C)(C)OC(=O)CP(=O)(OCC)OCC",
    "CCOP(=O)(CC#N)OCC",
)

SULFIDES = (
    "CSc1ccc(C(=O)OC)cc1",
    "CSc1ccc(Br)cc1",
    "CSc1ccc(-c2cccc(OC)c2)cc1",
    "CSc1ccc(C(=O)NCc2ccccc2)cc1",
    "O=C(NC1CC1)c1ccc(SCc2ccccc2)cc1",
    "COC(=O)CSc1ccc(F)cc1",
    "CC(C)(C)OC(=O)N1CCC(Sc2ccccc2)CC1",
    "O=C(c1ccc(F)cc1)N1CCSCC1",
    "CSc1nccc(-c2ccc(Cl)cc2)n1",
    "c1ccc(CSc2nnc(-c3ccccc3)o2)cc1",
    "CSCCc1ccc(OC)c(C(=O)OC)c1",
    "CSc1ccc(C#N)cc1Cl",
)

BLOCKS = (
    *ACIDS,
    *AMINES,
    *ACID_CHLORIDES,
    *SULFONYL_CHLORIDES,
    *ISOCYANATES,
    *CHLOROFORMATES,
    *ARYL_BROMIDES,
    *ARYL_IODIDES,
    *BORON,
    *ALKYNES,
    *AZIDES,
    *HETEROARYL_CHLORIDES,
    *ARYL_FLUORIDES,
    *PHENOLS,
    *ALKYL_BROMIDES,
    *ALCOHOLS,
    *ALDEHYDES,
    *KETONES,
    *GRIGNARDS,
    *PHOSPHONATES,
    *SULFIDES,
)
