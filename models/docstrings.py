"""The docstrings of Python's standard library as text for character-level language models, in an alphabet of 96.

They are read from the sources of the Python that runs, so there is nothing to download; but each Python version has
slightly different docstrings, and a perplexity measured on another version than the one that trained differs slightly:
the shipped weights are of 3.11, where llama has 3.458 per character of test text; on 3.12 it has 3.452, on 3.13 3.467.
The alphabet, the list of modules and the rule of the split do not depend on the version.
"""

import ast
import functools
import hashlib
import inspect
import re
import sysconfig
from pathlib import Path

ALPHABET = "\n" + "".join(chr(code) for code in range(32, 127))  # ids are indices: newline, then printable ASCII
SEPARATOR = "\n\n\n"  # after every docstring; inside one there are never three newlines in a row
TEST_SHARE = 10  # one docstring in this many is test text

# All are there as sources in Python 3.11, 3.12 and 3.13. Their order counts: it is that of the text.
MODULES = """
    _collections_abc _pyio _strptime abc argparse ast base64 bdb bisect calendar cmd code codecs codeop
    collections colorsys compileall configparser contextlib copy copyreg csv dataclasses datetime difflib dis doctest
    enum filecmp fileinput fnmatch fractions ftplib functools getopt getpass gettext glob graphlib gzip hashlib heapq
    hmac imaplib inspect io ipaddress keyword linecache locale lzma bz2 mailbox mimetypes modulefinder netrc ntpath
    numbers operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint
    profile pstats pyclbr pydoc queue quopri random re rlcompleter runpy sched secrets selectors shelve shlex shutil
    signal site smtplib socket socketserver sqlite3 ssl statistics string stringprep struct subprocess symtable
    tabnanny tarfile tempfile textwrap threading timeit token tokenize tomllib trace traceback tracemalloc types typing
    uuid warnings wave weakref webbrowser zipapp zipfile zipimport
    asyncio.base_events asyncio.base_subprocess asyncio.coroutines asyncio.events asyncio.exceptions asyncio.futures
    asyncio.locks asyncio.proactor_events asyncio.protocols asyncio.queues asyncio.runners asyncio.selector_events
    asyncio.sslproto asyncio.staggered asyncio.streams asyncio.subprocess asyncio.taskgroups asyncio.tasks
    asyncio.threads asyncio.timeouts asyncio.transports asyncio.unix_events
    concurrent.futures._base concurrent.futures.process concurrent.futures.thread
    ctypes ctypes.util curses.ascii curses.has_key curses.panel curses.textpad
    email email._header_value_parser email._parseaddr email._policybase email.base64mime email.charset
    email.contentmanager email.encoders email.errors email.feedparser email.generator email.header
    email.headerregistry email.iterators email.message email.mime.application email.mime.audio email.mime.base
    email.mime.image email.mime.message email.mime.multipart email.mime.text email.parser email.policy
    email.quoprimime email.utils encodings encodings.idna encodings.punycode html html.entities html.parser
    http http.client http.cookiejar http.cookies http.server
    importlib importlib._bootstrap importlib._bootstrap_external importlib.abc importlib.machinery importlib.metadata
    importlib.util json json.decoder json.encoder json.tool logging logging.config logging.handlers
    multiprocessing.connection multiprocessing.context multiprocessing.managers multiprocessing.pool
    multiprocessing.process multiprocessing.queues multiprocessing.shared_memory multiprocessing.util
    unittest unittest.async_case unittest.case unittest.loader unittest.main unittest.mock unittest.result
    unittest.runner unittest.signals unittest.suite unittest.util
    urllib.error urllib.parse urllib.request urllib.response urllib.robotparser
    wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.util wsgiref.validate
    xml.dom xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree xml.sax xml.sax.expatreader xml.sax.handler
    xml.sax.saxutils xml.sax.xmlreader xmlrpc.client xmlrpc.server
""".split()  # noqa: SIM905 — as a list literal, 200 lines


def encode(text: str) -> list[int]:
    """Ids of the characters of `text`; a character outside the alphabet is a ValueError."""
    for position, character in enumerate(text):
        if character not in ALPHABET:
            raise ValueError(
                f"character {position} of the text is {character!r}; allowed are printable ASCII ({ALPHABET[1]!r} to "
                f"{ALPHABET[-1]!r}) and the newline"
            )
    return [ALPHABET.index(character) for character in text]


def decode(ids: list[int]) -> str:
    """The text that `encode` makes these ids of."""
    return "".join(ALPHABET[index] for index in ids)


def load_text(split: str) -> str:
    """The docstrings of "train" or "test", each with SEPARATOR behind it.

    A docstring is test text if the hash of its text says so: whatever the Python version, text that was trained on is
    in no test split. Text that occurs more than once counts once.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    return "".join(text + SEPARATOR for text in _docstrings() if _is_test(text) == (split == "test"))


def clean(docstring: str) -> str:
    """`docstring` without its common indentation, characters outside the alphabet, and runs of blanks inside lines.

    Indentation stays; of several empty lines one stays.
    """
    lines = (re.sub(r"(?<=\S) +", " ", line).rstrip() for line in inspect.cleandoc(docstring).split("\n"))
    known = "".join(character for character in "\n".join(lines) if character in ALPHABET)
    return re.sub(r"\n{3,}", "\n\n", known).strip("\n")


@functools.cache
def _docstrings() -> tuple[str, ...]:
    texts = (clean(text) for module in MODULES for text in _docstrings_of(_source(module)))
    return tuple(dict.fromkeys(text for text in texts if text))


def _docstrings_of(path: Path) -> list[str]:
    """The docstrings of a file as written, in the order of the breadth-first walk of its syntax tree."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, documented))
    return [text for node in nodes if (text := ast.get_docstring(node, clean=False)) is not None]


def _source(module: str) -> Path:
    library = Path(sysconfig.get_paths()["stdlib"])
    name = module.replace(".", "/")
    for path in (library / f"{name}.py", library / name / "__init__.py"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"the source of the standard library's module {module} is missing under {library}")


def _is_test(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % TEST_SHARE == 0
