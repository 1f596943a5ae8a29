# SPDX-License-Identifier: Apache-2.0
"""How this chassis authenticates itself: where its credentials come from, are kept, and change.

``source`` is the interface that the controller uses; ``keeper`` implements it with one of three
sources: ``files`` that the operator has set up (``file_watch`` notices changes), ``enrolment`` with
the authority of the cluster, or ``own_pin``, a certificate of its own. The last two make a
``keypair``.
"""
