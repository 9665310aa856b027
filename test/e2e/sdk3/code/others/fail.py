print("looking at the rate")
raise ValueError("the learning rate must be positive; naïve?")
