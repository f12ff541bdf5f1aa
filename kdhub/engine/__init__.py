"""The engine: mmengine's Runner with safe loading, atomic saving, a run card, a report and a readable console."""
