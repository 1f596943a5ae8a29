# SPDX-License-Identifier: Apache-2.0
"""Pure: what a chassis can prove of its encryption: events to a ledger, and the ledger to a page.

The controller of a chassis writes events into a journal (controller/evidence/). Here they are
folded into a ledger, by the controller and, where none runs, by the command line.
"""
