# SPDX-License-Identifier: Apache-2.0
"""Keys, requests, certificates and a small authority that signs them; and keys shared by pairs."""
