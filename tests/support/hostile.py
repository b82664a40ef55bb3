"""Pickles that run something when they are loaded carelessly, and files to put them into."""

import io
import os
import pickle
import zipfile

import torch


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class CallBySetstate:
    """Pickles as an object of `kind` whose state has a call in it."""

    def __init__(self, kind, call):
        self.kind, self.call = kind, call

    def __reduce__(self):
        return (self.kind, (), {"__setstate__": self.call, "hidden": [self.call]})


def attacks(marker):
    """name -> (an object that makes the file `marker` when unpickled, pattern of the refused name)."""
    code = f"open({str(marker)!r}, 'w').close()"
    shell = Call(os.system, f"touch '{marker}'")
    return {
        "shell": (shell, rf"{os.name}\.system"),
        "eval": (Call(eval, f"({code})"), "eval"),
        "exec": (Call(exec, code), "exec"),
        "open": (Call(open, str(marker), "w"), r"(_?io\.)?open"),
        "torch code": (Call(torch.hub.load, str(marker), "x"), r"torch\.hub\.load"),
        "nested pickle": (Call(pickle.loads, pickle.dumps(shell)), r"_?pickle\.loads"),
    }


def torch_file(path, content):
    """As `torch.save` writes today."""
    torch.save(content, path)


def legacy_torch_file(path, content):
    """As `torch.save` wrote before version 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


def torch_file_of_protocol_4(path, content):
    """A newer pickle protocol inside."""
    torch.save(content, path, pickle_protocol=4)


def pickle_of_protocol_2(path, content):
    """No torch file at all."""
    path.write_bytes(pickle.dumps(content, protocol=2))


def pickle_of_today(path, content):
    """No torch file at all, in Python's default protocol."""
    path.write_bytes(pickle.dumps(content))


WRITERS = [
    torch_file,
    legacy_torch_file,
    torch_file_of_protocol_4,
    pickle_of_protocol_2,
    pickle_of_today,
]


def torch_file_of_opcodes(path, opcodes):
    """A torch file whose pickle is `opcodes`, byte by byte."""
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            new.writestr(member, opcodes if member.endswith("/data.pkl") else old.read(member))
