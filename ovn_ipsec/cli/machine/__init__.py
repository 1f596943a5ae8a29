# SPDX-License-Identifier: Apache-2.0
"""Edges: what can be seen of this machine without its controller, each look bounded in time.

``values`` is what they give (pure). What is not there is a value; what could not be looked at
raises, for that is not the same.
"""
