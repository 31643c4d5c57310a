"""Courses: a teacher, an invite link, and seats that are ready when it begins."""
