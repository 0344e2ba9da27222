"""PTX as lists of instructions. Functions are inlined where they are called, so that a kernel is one list."""

import re
from typing import NamedTuple

KINDS = {  # of registers, as NumPy's: by how many bits, or what, a declaration says
    "pred": "?", "b16": "u2", "u16": "u2", "s16": "u2", "b32": "u4", "u32": "u4", "s32": "u4", "f32": "f4",
    "b64": "u8", "u64": "u8", "s64": "u8", "f64": "f8",
}  # fmt: skip


class Variable(NamedTuple):
    """Memory that is declared: its space ("shared", "local", "global"), bytes, and what is in it."""

    space: str
    size: int
    align: int
    content: bytes = b""


class Instruction(NamedTuple):
    """name.parts operands; executed by the threads whose register `guard` is not `unless`."""

    name: str
    parts: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str
    unless: bool
    text: str


class Body(NamedTuple):
    """Of a kernel or a function: parameters, registers and their kinds, memory, instructions, where labels are."""

    parameters: list[str]
    registers: dict[str, str]
    variables: dict[str, Variable]
    code: list[Instruction]
    labels: dict[str, int]


class Module(NamedTuple):
    """Kernels by name, and the memory that all of them know."""

    kernels: dict[str, Body]
    variables: dict[str, Variable]


DECLARATION = re.compile(
    r"\.(global|const|shared|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w)(\d+)\s+([\w$]+)(?:\[(\d*)\])?\s*(?:=\s*\{(.*)\})?$",
    re.DOTALL,
)
HEAD = re.compile(r"\.(entry|func)\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*\(([^)]*)\)\s*(?=[{;])")
STATEMENT = re.compile(r"\s*(?:([\w$]+):|([^;{}]*(?:\{[^{};]*\}[^;{}]*)*);|[{}])", re.DOTALL)
INSTRUCTION = re.compile(r"(?:@(!?)([%\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)$", re.DOTALL)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+")


def parsed(text: str) -> Module:
    """What a PTX file says."""
    text = re.sub(r"//[^\n]*", "", text)
    functions: dict[str, Body] = {}
    kernels: list[str] = []
    rest, end = [], 0
    for head in HEAD.finditer(text):
        if head.start() < end:
            continue
        kind, results, name, parameters = head.groups()
        rest.append(text[end : head.start()])
        end = head.end()
        if text[end] == "{":
            stop = _closing(text, end)
            functions[name] = _body(text[end + 1 : stop], _names(parameters), _names(results or ""))
            kernels += [name] * (kind == "entry")
            end = stop + 1
    variables = dict(filter(None, map(_declared, "".join([*rest, text[end:]]).split(";"))))
    return Module({name: inlined(functions[name], functions) for name in kernels}, variables)


def own_name(mangled: str) -> str:
    """A kernel's, without modules and types: gemm_128x16 of _ZN15fastcnn_kernels9gemm_cuda11gemm_128x16B2v1E..."""
    names, rest = [mangled], mangled.removeprefix("_ZN")
    while found := re.match(r"\d+", rest):
        start = found.end()
        end = start + int(found.group())
        names, rest = [*names, rest[start:end]], rest[end:]
    return names[-1]


def _closing(text: str, start: int) -> int:
    """Where the brace that opens at `start` closes."""
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return start + brace.start()
    raise ValueError("PTX: a brace is not closed")


def _names(parameters: str) -> list[str]:
    return [re.sub(r"\[\d+\]$", "", one.split()[-1]) for one in parameters.split(",") if one.strip()]


def _declared(statement: str) -> tuple[str, Variable] | None:
    found = DECLARATION.search(statement.strip())
    if found is None or ".extern" in statement:
        return None
    space, align, _, bits, name, count, content = found.groups()
    width = int(bits) // 8
    numbers = [int(n) % (1 << 8 * width) for n in (content or "").split(",") if n.strip()]
    data = b"".join(n.to_bytes(width, "little") for n in numbers)
    size = width * int(count or 1)
    return name, Variable("global" if space == "const" else space, size, int(align or width), data)


def _body(text: str, parameters: list[str], results: list[str]) -> Body:
    body = Body([*parameters, *results], {}, {}, [], {})
    scopes: list[dict[str, str]] = [{}]  # what registers of a brace are called outside of it
    for statement in STATEMENT.finditer(text):
        label, line = statement.groups()
        brace = statement.group().strip()
        if label:
            body.labels[label] = len(body.code)
        elif brace == "{":
            scopes.append(dict(scopes[-1]))
        elif brace == "}":
            scopes.pop()
        elif line and line.strip():
            _read(line.strip(), body, scopes)
    return body


def _read(line: str, body: Body, scopes: list[dict[str, str]]) -> None:
    """Add a declaration or an instruction."""
    if line.startswith(".reg"):
        _, kind, names = line.split(None, 2)
        for name in names.split(","):
            stem, _, count = name.strip().partition("<")
            numbered = [f"{stem}{i}" for i in range(int(count.rstrip(">")))] if count else [stem]
            if len(scopes) > 1:
                scopes[-1].update({one: f"{one}~{len(body.code)}" for one in numbered})
            own = [scopes[-1].get(one, one) for one in numbered]
            body.registers.update(dict.fromkeys(own, KINDS[kind[1:]]))
    elif line.startswith("."):
        found = _declared(line)
        if found:
            body.variables[found[0]] = found[1]
    else:
        body.code.append(_instruction(line, scopes[-1]))


def _instruction(line: str, known_as: dict[str, str]) -> Instruction:
    match = INSTRUCTION.match(line)
    if match is None:
        raise ValueError(f"PTX: {line!r} is no instruction")
    unless, guard, name, operands = match.groups()
    name, *parts = re.sub("::", "_", name).split(".")
    found = [re.sub(r"\s+", "", one) for one in OPERAND.findall(operands)]
    own = [renamed(one, known_as) for one in found] if known_as else found
    return Instruction(name, tuple(parts), tuple(own), known_as.get(guard, guard) or "", bool(unless), line)


def renamed(operand: str, names: dict[str, str]) -> str:
    """The operand, with other names in it."""
    return re.sub(r"[%\w$@~]+", lambda word: names.get(word.group(), word.group()), operand)


# --- calls ---------------------------------------------------------------------------------------------------------


def inlined(body: Body, functions: dict[str, Body]) -> Body:
    """The body with every called function in place of the call; parameters are places in a thread's own memory."""
    whole = Body(body.parameters, dict(body.registers), dict(body.variables), [], {})
    starts = {}
    for position, instruction in enumerate(body.code):
        starts[position] = len(whole.code)
        if instruction.name == "call":
            _call(instruction, whole, functions)
        else:
            whole.code.append(instruction)
    starts[len(body.code)] = len(whole.code)
    whole.labels.update({label: starts[position] for label, position in body.labels.items()})
    return whole


def _call(call: Instruction, whole: Body, functions: dict[str, Body]) -> None:
    *results, name, given = (re.findall(r"[\w$]+", one) for one in call.operands)
    callee = inlined(functions[name[0]], functions)
    mark = f"@{len(whole.code)}"
    names = {one: one + mark for one in (*callee.registers, *callee.labels, *callee.variables)}
    names.update(zip(callee.parameters, [*given, *(results[0] if results else [])], strict=True))
    end = f"end{mark}"
    start = len(whole.code)
    for one in callee.code:
        operands = (end,) if one.name == "ret" else tuple(renamed(operand, names) for operand in one.operands)
        name_of = "bra" if one.name == "ret" else one.name
        whole.code.append(one._replace(name=name_of, operands=operands, guard=renamed(one.guard, names)))
    whole.labels.update({names[label]: start + position for label, position in callee.labels.items()})
    whole.labels[end] = len(whole.code)
    whole.registers.update({names[register]: kind for register, kind in callee.registers.items()})
    whole.variables.update({names[variable]: facts for variable, facts in callee.variables.items()})
