"""What the house tells of itself: metrics for who watches (`catalogue`, `exposition`), pages for who must act."""
