#!/usr/bin/env bash
# Writes the bindings of the contract for C, one folder a role, into plugins/c.
# They are committed, so that a plugin in C needs a compiler only. Needs
# `cargo install wit-bindgen-cli --version 0.63.0 --locked` and Python.
set -euo pipefail
cd "$(dirname "$0")"

for role in parser transform aggregator rule; do
    wit-bindgen c ../wit/0.1.0 --world "$role-plugin" --rename-world wit --out-dir "c/$role"
    # The type of the component, as text: a section that the linker copies.
    python3 - "c/$role" <<'PYTHON'
import pathlib, sys

def number(data, at):
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at

folder = pathlib.Path(sys.argv[1])
source = folder / "wit_component_type.o"
data, at = source.read_bytes(), 8
while at < len(data):
    kind, (size, start) = data[at], number(data, at + 1)
    at = start + size
    length, name = number(data, start)
    if kind == 0 and data[name:name + length].startswith(b"component-type"):
        section, body = data[name:name + length].decode(), data[name + length:at]
lines = [body[i:i + 24] for i in range(0, len(body), 24)]
text = "\n".join(f'        ".byte {",".join(map(str, line))}\\n"' for line in lines)
(folder / "component_type.c").write_text(f'''/* Generated from the contract by bindings-c.sh: the type of the component. */
__asm__(".section \\".custom_section.{section}\\",\\"\\",@\\n"
{text}
        ".text\\n");

/* The bindings refer to it, so that the linker keeps the section. */
void __component_type_object_force_link_wit(void);
void __component_type_object_force_link_wit(void) {{}}
''')
source.unlink()
PYTHON
    # Lines without trailing blanks.
    sed -i 's/[[:space:]]*$//' "c/$role/wit.c" "c/$role/wit.h"
done
