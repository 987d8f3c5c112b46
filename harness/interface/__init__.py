"""What a Python session uses: sweeps, their answers, and an estimator of scikit-learn's kind.

`harness` itself offers all of it, and imports this when it is asked for.
"""
