"""The parts of ``scripts/train_demo_model.py``: data, network, training, export, figures."""
