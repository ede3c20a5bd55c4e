# SPDX-License-Identifier: GPL-3.0-or-later
"""How much work an access of the test guest is where its speed on memory that is split is measured.

A page that is checked once is 2 us of an emulated processor, and an access that must wait for its page takes at least
20 times as long, wherever the page comes from. Of a hot-set guest with half its memory local one access in 40 waits, so
it could keep two thirds of its speed at best. Programs do more with a page: memcached in that guest takes 120 us and
more for a request; these checks take 80.
"""

WORK = "smemv.checks=100"
