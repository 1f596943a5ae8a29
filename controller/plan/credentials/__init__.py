# SPDX-License-Identifier: Apache-2.0
"""Pure: who a chassis is: its credential, what is wrong with it, and what a peer may prove.

``certificate`` judges the own one, by its ``suitability`` and its ``chain``, and makes a
``credential``. ``pins`` are those that peers publish, ``plain`` says who still uses the secret as
it is, and ``proof`` what two ends of a pair prove to each other.
"""
