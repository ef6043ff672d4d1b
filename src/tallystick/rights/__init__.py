"""What may be done?"""
