"""What is known to hold?"""
