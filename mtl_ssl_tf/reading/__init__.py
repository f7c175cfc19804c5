"""Reading what others wrote, in bounded memory and time.

regular_files   files, and neither pipes nor devices, up to a size
json_text       JSON, up to a depth and length of numbers, and its types
quoting         values in messages, on one line of bounded length
"""
