"""Which way does it flow?"""
