from dataclasses import dataclass
from mutransfer.kernels.elementwise import Chain
@dataclass(frozen=True, kw_only=True)
class Integrated:
    chain: Chain
