# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts as SVG text that stands in an HTML page, without scripts and without anything to fetch. On the controller."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.smemv.kvm.plugins.module_utils.sizes import round_size

try:
    import pygal
except ImportError:
    pygal = None

_FORMATS = {
    "bytes": lambda value: round_size(int(value)),
    "bytes/s": lambda value: f"{round_size(int(value))}/s",
    "pages/s": lambda value: f"{value:.0f}/s",
    "us": lambda value: f"{value:.0f} µs",
}


def lines(series, title, unit):
    """A chart of values over seconds.

    :param series: {name: [(seconds, value)]}.
    :param unit: bytes, bytes/s, pages/s or us.
    """
    chart = _chart("XY", title, unit)
    chart.x_title = "seconds"
    chart.x_value_formatter = lambda value: f"{value:.1f}"
    for name, points in series.items():
        chart.add(name, [tuple(point) for point in points])
    return _svg(chart)


def bars(rows, title, unit):
    """A chart of bars, each stacked of parts.

    :param rows: {bar: {part: value}}, the uppermost first.
    """
    chart = _chart("HorizontalStackedBar", title, unit)
    # It is drawn from the bottom.
    names = list(reversed(rows))
    chart.x_labels = names
    for part in dict.fromkeys(part for row in rows.values() for part in row):
        chart.add(part, [rows[name].get(part) for name in names])
    return _svg(chart)


def columns(parts, size, title):
    """A chart of guest memory by its addresses: a column for each region.

    :param parts: {part: [bytes of it in each region]}.
    :param size: bytes of guest memory.
    """
    chart = _chart("StackedBar", title, "bytes")
    count = len(next(iter(parts.values())))
    chart.x_labels = [round_size(size * number // count) for number in range(count)]
    chart.x_labels_major_every = max(1, count // 8)
    chart.show_minor_x_labels = False
    chart.x_title = "address"
    for name, values in parts.items():
        chart.add(name, values)
    return _svg(chart)


def check():
    """Refuse to draw where it cannot be."""
    if pygal is None:
        raise AnsibleFilterError("a report wants the Python package pygal on the controller: pip install pygal")


def _chart(kind, title, unit):
    # The package's own scripts would be fetched by whoever opens the page; what configures them goes as well.
    chart = getattr(pygal, kind)(js=[], title=title, width=900, height=360, legend_at_bottom=True, dots_size=2)
    chart.value_formatter = _FORMATS[unit]
    chart.add_xml_filter(_without_scripts)
    return chart


def _without_scripts(root):
    for parent in root.iter():
        for script in parent.findall("script"):
            parent.remove(script)
    return root


def _svg(chart):
    return chart.render(is_unicode=True, disable_xml_declaration=True)
