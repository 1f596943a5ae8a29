# SPDX-License-Identifier: Apache-2.0
"""What this chassis proves itself with: where it comes from, how it is kept, when it changes.

``source`` is what the controller asks, and ``keeper`` answers it from one of three places:
``files`` that the operator has set up (``file_watch`` sees them change), ``enrolment`` with the
authority of the cluster, or ``own_pin``, a certificate of its own. What the last two make is a
``keypair``.
"""
