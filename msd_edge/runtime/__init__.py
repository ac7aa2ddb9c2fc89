"""Running a bundle: one session per runtime behind one face, and the cascade that really stops. No torch here."""
