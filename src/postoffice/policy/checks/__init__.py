"""One file per check. A check states what it found; settings state the consequence."""
