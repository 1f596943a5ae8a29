# SPDX-License-Identifier: Apache-2.0
"""Libreswan (4.10 and 5.2) as an IKE daemon.

``daemon`` is the backend: it collects what is asked for and passes it on as a whole. ``session``
holds on to pluto's process; ``credentials`` and ``nss`` keep its keys and certificates; ``tools``
runs Libreswan's programs (``addconn`` for all changes of a pass at once, ``whack`` for what is per
connection), and ``attempts`` follows what is being initiated. ``conf`` and ``secrets`` make the
texts that pluto reads; ``states`` parses what it shows, and ``sas`` makes SAs of that. What differs
between releases is in ``dialect``.
"""
