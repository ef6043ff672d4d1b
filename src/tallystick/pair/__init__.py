"""Who may connect?"""
