"""Read a bill and look at a picture from Python, with the bundled model."""

import gemma_edge

with gemma_edge.load("demo") as engine:
    bill = gemma_edge.extract("examples/invoice.pdf", schema="vendor, total num", engine=engine)
    print(bill.data, bill.problems)
    total = bill.evidence["total"]
    print(f"{total.text} on page {total.page}, at {total.boxes[0].left:.0f} points from the left")
    print(gemma_edge.describe("examples/shapes.png", temperature=0, engine=engine))
