"""Closed bars and liquidations to MySQL within seconds, by disk, and the patrol that finds what is lacking there.

`sink.BarSink` takes what the streams close, `confirming.Confirmer` asks REST for what they do not, `patrol.Patrol`
looks in MySQL itself. The settings stand apart from them, so that who reads a settings file imports no database.
"""
