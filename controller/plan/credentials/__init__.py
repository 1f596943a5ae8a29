# SPDX-License-Identifier: Apache-2.0
"""Pure: who a chassis is: its credential, what is wrong with it, and what a peer may prove.

``certificate`` judges our own certificate, by its ``suitability`` and its ``chain``, and makes a
``credential``. ``pins`` are the certificates that peers publish, ``plain`` says which peers still
use the secret directly, and ``proof`` is what the two ends of a pair prove to each other.
"""
