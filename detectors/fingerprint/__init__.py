"""Text as hashes and small numbers: `fingerprint(event)` is the only door.

normalise        text → masked tokens
skeleton         head, tail and winnowed shingles: what stays constant
output_contract  what the answer is forced to look like
minhash          near-duplicates
echo             samples of shingles, to know an answer that comes back as input
content          exact content under masking, and the coverage cell
script           class of script and language
intents, cues    what a request is for: structure first, words of a dozen languages second
record           the value they are put into
request          the parts in a row
"""

from detectors.fingerprint.record import FINGERPRINT_VERSION, Fingerprint
from detectors.fingerprint.request import fingerprint

__all__ = ["FINGERPRINT_VERSION", "Fingerprint", "fingerprint"]
