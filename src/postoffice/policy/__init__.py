"""Judgement: checks return verdicts, the pipeline takes the gravest, counters and the one sign-in live here."""
