"""What is believed?"""
