"""What training is made of: candidate lists, a teacher's notes, training rows."""
